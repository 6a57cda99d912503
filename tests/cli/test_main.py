import dataclasses
import os
import subprocess
import sys

import pytest

import pwm.cli.main as module
from pwm.agents.pwm.config import PolicyConfig
from pwm.cli.parse import peek
from pwm.world_model.config import PretrainConfig, WorldModelConfig


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_command(pwm, arguments):
    outcome = pwm(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(f"  {name} " in outcome.out for name in module.COMMANDS)


@pytest.mark.parametrize("command", module.COMMANDS)
def test_every_command_answers_help(pwm, command):
    outcome = pwm(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"usage: pwm {command}")


@pytest.mark.parametrize(
    ("command", "configs"), [("pretrain", (WorldModelConfig, PretrainConfig)), ("learn", (PolicyConfig,))]
)
def test_help_shows_every_setting_with_default_and_explanation(pwm, command, configs):
    text = " ".join(pwm(command, "--help").out.replace("│", " ").split())
    fields = [field for config in configs for field in dataclasses.fields(config)]
    assert len(fields) > 15
    for field in fields:
        flag = f"--{field.name.replace('_', '-')}"
        assert f"{flag} " in text or f"{flag}, " in text, flag
        default = field.default
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        shown = "none" if default in (None, ()) else shown
        part = text.split(flag, 1)[1].split("(default: ", 1)
        assert part[1].startswith(f"{shown})"), flag
        assert len(part[0].split()) >= 3, f"{flag} lacks an explanation"


def test_defaults_follow_size_and_preset(pwm):
    assert "(default: 512)" in pwm("pretrain", "--size", "5", "--help").out.split("--latent-dim")[1][:120]
    assert "(default: 0.0)" in pwm("learn", "--preset=as_published", "--help").out.split("--td-lambda")[1][:200]


def test_peek():
    assert peek(["--size", "5"], "--size", "48") == "5"
    assert peek(["--size=5", "--size", "1"], "--size", "48") == "1"
    assert peek(["--sizes", "5", "--size"], "--size", "48") == "48"


def test_version(pwm):
    from pwm import __version__

    assert pwm("--version").out == f"pwm {__version__}\n"


def test_unknown_command(pwm):
    outcome = pwm("lern")
    assert (outcome.code, outcome.err) == (2, "pwm: lern: no such command; did you mean learn?\n")
    assert "choose one of quickstart, pretrain" in pwm("xyz").err


@pytest.mark.parametrize("name", ["export-policy", "load-policy", "export-policies"])
def test_a_command_for_policies_does_not_suggest_one_for_models(pwm, name):
    outcome = pwm(name, "runs/mine")
    assert outcome.code == 2 and "pwm.load_policy(FILE) opens" in outcome.err and "model" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("pretrain", "--data", "x"), "--out"),
        (("pretrain", "--data", "x", "--out", "y", "--batch-size", "many"), "--batch-size"),
        (("learn", "--world-model", "x", "--reward-space", "log"), "--reward-space"),
        (("evaluate",), "PATH"),
        (("report", "run", "--nonsense"), "--nonsense"),
        (("quickstart", "--film"), "--film"),
    ],
)
def test_argument_errors_exit_2(pwm, arguments, culprit):
    outcome = pwm(*arguments)
    assert outcome.code == 2 and outcome.out == "" and culprit in outcome.err


def test_interruption(pwm, monkeypatch):
    monkeypatch.setattr(module, "_run", lambda arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    outcome = pwm("quickstart")
    assert (outcome.code, outcome.err) == (130, "pwm: interrupted; the same command resumes where it stopped\n")


def test_a_bug_keeps_its_traceback(pwm, monkeypatch):
    monkeypatch.setattr(module, "_run", lambda arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pwm("quickstart")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from pwm.cli.main import COMMANDS, main; "
        "[main([*name.split(), '--help']) for name in ('', *COMMANDS, 'data collect', 'hub push')]; "
        "print(sorted({'torch', 'dm_control', 'mujoco', 'matplotlib', 'gymnasium'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert child.stdout.splitlines()[-1] == "[]"
