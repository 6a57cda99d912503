"""A call of the library and the command of the same name leave the same run folder."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import pwm as library
from pwm import PolicyConfig, PretrainConfig
from pwm.world_model.config import world_model_size
from tests.cli.conftest import FAST_POLICY, contents


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/mine.py", "a b"])


def left_in(run):
    """The names of a run's files and its run.json, without date and commands."""
    record = json.loads((Path(run) / "run.json").read_text())
    record = {name: value for name, value in record.items() if name not in ("created", "command")}
    record["commands"] = list(record["commands"])
    files = [path.relative_to(run) for path in Path(run).rglob("*") if "tfevents" not in path.name]
    return sorted(files), record


def last_command(run):
    return list(json.loads((Path(run) / "run.json").read_text())["commands"].values())[-1]


def test_pretrain_and_learn(pwm, pretrain, store):
    run = pretrain()
    model = world_model_size("tiny", encoder_units=(16,), units=(16, 16))
    config = PretrainConfig(batch_size=8, horizon=3, updates=6, checkpoint_every=2, evaluate_every=3)
    learned = library.pretrain(library.open_dataset(store), "other", model, config)
    assert left_in("other") == left_in(run) and last_command("other") == "mine.py 'a b'"
    assert pwm("learn", "--world-model", run, "--task", "toy-b", "--seeds", "2", "--seed", "3", *FAST_POLICY).code == 0
    sizes = {"batch_size": 8, "horizon": 3, "updates": 6, "actor_units": (8,), "critic_units": (8,)}
    config = PolicyConfig(**sizes, checkpoint_every=2, log_every=2)
    library.learn(learned, library.open_dataset(store), "other", ["toy-b"], config, [3, 4])
    assert left_in("other") == left_in(run) and last_command("other") == "mine.py 'a b'"
    for pattern in ("world_model/*", "policies/**/*.safetensors"):
        assert contents(Path("other"), pattern) == contents(run, pattern)


def test_evaluate(pwm, pretrain):
    run = pretrain()
    assert pwm("learn", "--world-model", run, "--task", "toy-a", *FAST_POLICY).code == 0
    shutil.copytree(run, "other")
    assert pwm("evaluate", run, "--episodes", "2", "--film-seconds", "0").code == 0
    results = library.evaluate("other", 2, film_seconds=0)
    assert left_in("other") == left_in(run) and left_in(run)[1]["config"]["evaluate"] == {"episodes": 2, "seed": 0}
    assert results["tasks"] == json.loads((run / "results.json").read_text())["tasks"]
    assert last_command(run) == "pwm evaluate run --episodes 2 --film-seconds 0"
    assert last_command("other") == "mine.py 'a b'"


def test_policies_alone_are_evaluated_without_a_record(pwm, pretrain):
    run = pretrain()
    assert pwm("learn", "--world-model", run, "--task", "toy-a", *FAST_POLICY).code == 0
    shutil.copytree(run / "policies", "alone/policies")
    assert library.evaluate("alone", 1, film_seconds=0)["tasks"]["toy-a"]["data_mean"] is None
    assert not Path("alone/run.json").exists()
