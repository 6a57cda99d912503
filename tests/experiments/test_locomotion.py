"""The experiments in the differentiable simulator, at toy size."""

import pytest

from pwm.experiments import locomotion, locomotion_gradients
from pwm.experiments.registry import reproduce
from pwm.runtime.files import read_json, write_json


def test_trainings(tmp_path, monkeypatch):
    pytest.importorskip("newton")
    monkeypatch.setattr(locomotion, "TRAININGS", (locomotion.Training("shac", "hopper", (0, 1)),))
    monkeypatch.setattr(locomotion, "TARGETS", {"hopper": -1e9})
    page = reproduce("locomotion", tmp_path, tmp_path / "runs", tiny=True)
    [policy] = read_json(tmp_path / "locomotion.json")["policies"]
    assert (policy["task"], policy["algorithm"], policy["seed"]) == ("hopper", "shac", 0)
    assert policy["updates"] == policy["settings"]["updates"] == locomotion.TOY["shac"]["updates"]
    every = {name: found["mass_matrix_every"] for name, found in policy["deterministic"].items()}
    assert every == {"trained": 1, "cached": 16}
    assert all(len(found["returns"]) == 2 for found in policy["deterministic"].values())
    assert policy["curve"][-1][2] == policy["last_training_return"]
    assert "reached by 1 of 1 seeds" in page.read_text() and (tmp_path / "locomotion.png").stat().st_size > 1000

    judged = tmp_path / "runs" / "shac-hopper" / "judged-seed0.json"
    write_json(judged, policy | {"steps": 5_000_000})  # neither trained nor judged again
    assert "| 5.00 M |" in reproduce("locomotion", tmp_path, tmp_path / "runs", tiny=True).read_text()


def test_every_algorithm_has_its_toy_size():
    for training in locomotion.TRAININGS:
        config, toy = training.config(tiny=False), training.config(tiny=True)
        assert type(config) is type(toy) and config != toy
        assert (training.minutes is not None) is (training.algorithm == "sac")


def test_gradients(tmp_path, monkeypatch):
    pytest.importorskip("newton")
    monkeypatch.setattr("pwm.tasks.locomotion.catalogue.task_names", lambda: ("double-pendulum", "ant"))
    reproduce("locomotion_gradients", tmp_path, tmp_path / "runs", tiny=True)
    [run] = read_json(tmp_path / "locomotion_gradients.json")["runs"]
    assert [(row["preset"], row["steps"]) for row in run["errors"]] == [
        (preset, steps) for preset in ("exact", "paper") for steps in (1, 8)
    ]
    assert all(row["median"] < 0.05 and row["cosine"] > 0.99 for row in run["errors"])
    assert [row["case"] for row in run["norms"]] == ["as shipped", "paper's mass matrix", "a quarter of the substeps"]

    kept = tmp_path / "runs" / "locomotion_gradients" / "double-pendulum.json"
    write_json(kept, run | {"machine": "an abacus"})  # not measured again
    assert "an abacus" in reproduce("locomotion_gradients", tmp_path, tmp_path / "runs", tiny=True).read_text()
    assert locomotion_gradients.Size() == (8, 64, 32)
