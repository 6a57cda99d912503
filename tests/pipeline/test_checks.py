"""What the steps say about their data: printed, kept in run.json, shown in the report."""

import json
from dataclasses import replace

import numpy as np
import pytest

import pwm
from pwm.data.writer import StoreWriter
from pwm.report.page import write_report
from pwm.tasks import registry
from tests.toys import toy_task

SMALL = {"updates": 3, "batch_size": 8, "horizon": 3, "held_out": 0.0}


@pytest.fixture
def falls(tmp_path):
    """Episodes that terminate, with rewards beyond the two-hot code."""
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "falls") as writer:
        writer.add_task("falls", 3, 2, 20, 1)
        for _ in range(10):
            ends = np.arange(20) == 19
            actions = rng.uniform(-1, 1, (20, 2))
            writer.add_episode("falls", rng.normal(size=(21, 3)), actions, 1e6 * rng.random(20), ends)
    return pwm.open_dataset(tmp_path / "falls")


def test_terminations_are_learned_where_the_data_have_them(falls, tmp_path, capsys):
    model = pwm.pretrain(falls, tmp_path / "run", "tiny", pwm.PretrainConfig(**SMALL))
    assert model.config.episodic and model.bind(["falls"]).terminates
    said = capsys.readouterr().out
    assert "10 of 10 episodes terminate" in said and "--episodic" in said and "22,025" in said
    kept = json.loads((tmp_path / "run/run.json").read_text())["preflight"]["pretrain"]
    assert [finding["about"] for finding in kept] == ["rewards", "terminations"]
    page = write_report(tmp_path / "run").read_text()
    assert "Notes on the data" in page and "10 of 10 episodes terminate" in page


def test_terminations_can_be_left_out(falls, tmp_path, capsys):
    model = pwm.pretrain(falls, tmp_path / "run", "tiny", pwm.PretrainConfig(**SMALL, termination_weight=0.0))
    assert not model.config.episodic
    assert "does not learn terminations" in capsys.readouterr().out
    pwm.learn(tmp_path / "run", falls, config=pwm.PolicyConfig(updates=2, batch_size=8, horizon=3, actor_units=(8,)))
    assert "does not learn terminations" in capsys.readouterr().out
    kept = json.loads((tmp_path / "run/run.json").read_text())["preflight"]
    assert [name.split()[0] for name in kept] == ["pretrain", "learn"]


def test_evaluation_compares_the_data_with_the_task(tmp_path, capsys, monkeypatch):
    registry.list_tasks()  # registers them
    monkeypatch.setitem(registry._tasks, "toy-twice", replace(toy_task("toy-twice"), action_repeat=2))
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "data") as writer:
        writer.add_task("toy-twice", 3, 2, 12, 1)
        for _ in range(4):
            writer.add_episode("toy-twice", rng.normal(size=(13, 3)), rng.uniform(-1, 1, (12, 2)), rng.random(12))
    store = pwm.open_dataset(tmp_path / "data")
    words = "the data have action repeat 1, the registered task 2"
    pwm.pretrain(store, tmp_path / "run", "tiny", pwm.PretrainConfig(**SMALL))
    assert words in capsys.readouterr().out
    pwm.learn(tmp_path / "run", store, config=pwm.PolicyConfig(updates=2, batch_size=8, horizon=3, actor_units=(8,)))
    assert words in capsys.readouterr().out
    pwm.evaluate(tmp_path / "run", episodes=1, film_seconds=0, workers=1)
    assert words in capsys.readouterr().out
    assert words in json.loads((tmp_path / "run/run.json").read_text())["preflight"]["evaluate"][0]["text"]
