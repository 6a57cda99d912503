"""A call of the library and the command of the same name leave the same run folder."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import pwm as library
from pwm import PolicyConfig, PretrainConfig
from pwm.world_model.config import world_model_size
from tests.commands import FAST_POLICY, contents
from tests.pipeline.test_plan import FAST_PLAN
from tests.pipeline.test_train import point  # noqa: F401
from tests.world_model.checkpoints.published import Published


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


def test_plan(pwm, pretrain):
    run = pretrain()
    assert pwm("learn", "--world-model", run, "--task", "toy-a", *FAST_POLICY).code == 0
    assert pwm("plan", run, "--out", "planned", *FAST_PLAN).code == 0
    [file] = library.plan(
        run, "other", library.PlanConfig(horizon=2, samples=8, policy_samples=2, elites=2, iterations=2)
    )
    assert left_in("other") == left_in("planned") and last_command("other") == "mine.py 'a b'"
    assert contents(Path("other"), "policies/*/*") == contents(Path("planned"), "policies/*/*")
    assert library.load_policy(file).task == "toy-a"


def test_import(pwm):
    torch.save({"model": Published("flat", 2, 3, 2).state_dict()}, "agent.pt")
    assert pwm("import-model", "agent.pt", "--out", "run", "--task", "toy-a", "toy-b").code == 0
    assert library.import_checkpoint("agent.pt", "other", ["toy-a", "toy-b"]).about["layout"] == "flat"
    assert left_in("other") == left_in("run") and last_command("other") == "mine.py 'a b'"
    assert contents(Path("other"), "world_model/*") == contents(Path("run"), "world_model/*")


def test_train(pwm):
    settings = "--updates 4 --num-envs 8 --horizon 8 --critic-passes 1 --log-every 1".split()
    assert pwm("train", "--task", "point", "--out", "run", "--seeds", "2", *settings).code == 0
    config = library.ShacConfig(updates=4, num_envs=8, horizon=8, critic_passes=1, log_every=1)
    library.train("point", "other", config, [0, 1])
    assert left_in("other") == left_in("run") and last_command("other") == "mine.py 'a b'"
    assert contents(Path("other"), "policies/*/*") == contents(Path("run"), "policies/*/*")
    for wrong, message in (({"config": "dqn"}, "dqn: no such algorithm"), ({"seeds": []}, "seeds: is empty")):
        with pytest.raises(library.PWMError, match=message):
            library.train("point", "third", **wrong)
    assert not Path("third").exists()
