"""PWM_TASKS, and the example of a task of one's own."""

import json
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pwm.cli.main import main
from pwm.cli.parse import command_line
from pwm.runtime.errors import PWMError
from pwm.tasks import registry

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_task.py"
MINE = """
import pwm
from neighbour import SIZE
from pwm.tasks.spec import TaskSpec
def make(render_mode=None): ...
pwm.register_task(TaskSpec("mine", SIZE, 1, 10, 1, "return", make))
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a test registers and imports is gone after it."""
    monkeypatch.delenv("PWM_TASKS", raising=False)
    registry.list_tasks()
    for name, kind in (("_tasks", dict), ("_sets", dict), ("_loaded", set)):
        monkeypatch.setattr(registry, name, kind(getattr(registry, name)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in {"mine", "mine_as_well", "neighbour", "own_task"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "neighbour.py").write_text("SIZE = 3\n")
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "mine_as_well.py").write_text(MINE.replace('"mine"', '"mine-as-well"'))
    return tmp_path


def test_a_file_registers_its_tasks(folder, monkeypatch):
    with pytest.raises(PWMError, match=r"unknown task 'mine'.*set PWM_TASKS"):
        registry.get_task("mine")
    monkeypatch.setenv("PWM_TASKS", f"{folder / 'mine.py'}:{folder / 'mine_as_well.py'}")
    spec = registry.get_task("mine")
    assert spec.observation_dim == 3 and registry.get_task("mine-as-well").observation_dim == 3
    assert registry.list_tasks()[-2:] == ("mine", "mine-as-well")
    assert registry.get_task("mine") is spec  # imported once
    assert pickle.loads(pickle.dumps(spec)).make is spec.make  # other processes can have it
    with pytest.raises(PWMError, match="unknown task 'yours'; [^(]*$"):
        registry.get_task("yours")


def test_a_module_by_name_and_a_file_relative_to_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PWM_TASKS", "mine.py")
    assert registry.get_task("mine").observation_dim == 3
    monkeypatch.setenv("PWM_TASKS", "mine_as_well")
    assert registry.get_task("mine-as-well").observation_dim == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.py", None, "there is no file .*gone.py"),
        ("gone_module", None, "gone_module fails: ModuleNotFoundError"),
        ("mine.py", "x = 1\ny = 1 / 0\n", "mine.py fails in line 2: ZeroDivisionError"),
        ("mine.py", "x = (\n", "mine.py fails: SyntaxError.*line 1"),
        (
            "mine.py",
            "import pwm\npwm.get_task('cup-cach')\n",
            "mine.py: unknown task 'cup-cach'; did you mean",
        ),
        ("json.py", "x = 1\n", "json.py has the name of another module, .*rename"),
    ],
)
def test_what_goes_wrong_is_told_each_time(tmp_path, monkeypatch, capsys, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PWM_TASKS", str(tmp_path / name) if name.endswith(".py") else name)
    for _ in range(2):
        with pytest.raises(PWMError, match=f"PWM_TASKS: .*{message}"):
            registry.get_task("cup-catch")
    sys.modules.pop("mine", None)


def test_the_recorded_command_names_the_tasks(monkeypatch):
    assert command_line("evaluate", ["runs/a b"]) == "pwm evaluate 'runs/a b'"
    monkeypatch.setenv("PWM_TASKS", "my tasks.py")
    assert command_line("evaluate", ["runs/x"]) == "PWM_TASKS='my tasks.py' pwm evaluate runs/x"


def test_the_example_from_data_to_the_command_line(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(run), "3"])
    names = runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert names["TASK"].score == "success"
    assert names["result"]["data_mean"] > names["result"]["random_mean"]
    registry._tasks.pop("puck")
    arguments = ["evaluate", str(run), "--episodes", "2", "--film-seconds", "0"]
    capsys.readouterr()
    assert main(arguments) == 2
    assert "unknown task 'puck'" in capsys.readouterr().err
    monkeypatch.setenv("PWM_TASKS", str(EXAMPLE))
    assert main(arguments) == 0
    results = json.loads((run / "results.json").read_text())
    assert len(results["tasks"]["puck"]["episode_seeds"]) == 2 and results["tasks"]["puck"]["score"] == "success"


def test_the_example_can_be_learned():
    """A driver who knows the physics succeeds at the puck, and one who does nothing does not."""
    task = runpy.run_path(str(EXAMPLE))["TASK"]
    for gain, expected in ((1.0, 1.0), (0.0, 0.0)):
        env = task.make()
        observation, _ = env.reset(seed=0)
        for _ in range(50):
            observation, _, _, truncated, info = env.step(-gain * np.array([0.5, 1.0]) @ observation[:, None])
        assert truncated and info["success"] == expected


def test_another_process_knows_the_tasks():
    code = "from pwm.tasks.registry import get_task; print(get_task('puck').make().reset(seed=0)[0].shape)"
    environment = {"PWM_TASKS": str(EXAMPLE), "PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert (child.returncode, child.stdout.strip(), child.stderr) == (0, "(2,)", "")
