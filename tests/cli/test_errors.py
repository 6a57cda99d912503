"""Wrong input exits with 2 and one line on stderr that names the culprit."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands import FAST, FAST_POLICY
from tests.stores import random_store


@pytest.fixture
def refused(pwm):
    """Runs a command that must fail, and returns its one line."""

    def run(*arguments: object) -> str:
        outcome = pwm(*arguments)
        assert outcome.code == 2, outcome
        lines = outcome.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("pwm: "), outcome.err
        return lines[0]

    return run


def pretrain_from(store: object, out: object = "run") -> tuple:
    return ("pretrain", "--data", store, "--out", out, "--size", "tiny", *FAST)


def test_missing_data(refused, tmp_path):
    assert "nowhere: no episode store here" in refused(*pretrain_from(tmp_path / "nowhere"))
    assert "nowhere: no episode store here" in refused("quickstart", "--data", tmp_path / "nowhere")
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()


def test_unknown_task(refused, store, pretrain):
    line = refused(*pretrain_from(store), "--tasks", "toy-a", "toy-c")
    assert "no task 'toy-c' in this store; did you mean toy-a?" in line or "toy-b" in line
    assert "task toy-c: this world model knows toy-a, toy-b" in refused(
        "learn", "--world-model", pretrain(), "--task", "toy-a", "toy-c"
    )


def test_a_task_without_simulator(refused, tmp_path):
    data = random_store(tmp_path / "other", {"toy-zz": (3, 2)}, [12]).path
    assert "unknown task 'toy-zz'" in refused("quickstart", "--data", data, "--preset", "tiny")


def test_data_and_model_of_other_sizes(refused, pwm, pretrain, tmp_path):
    run = pretrain()
    data = random_store(tmp_path / "other", {"toy-a": (4, 2), "toy-b": (2, 1)}, [12] * 12).path
    arguments = ("learn", "--world-model", run, "--task", "toy-a", *FAST_POLICY)
    assert "task toy-a: the world model has (observation, action) sizes (3, 2), the data (4, 2)" in refused(
        *arguments, "--data", data
    )
    assert pwm(*arguments).code == 0  # the run still knows its own data


def test_nan_in_the_data(refused, store):
    path = store / "toy-b" / "rewards.npy"
    rewards = np.load(path)
    rewards[20] = np.nan
    np.save(path, rewards)
    assert "rewards.npy: wrong checksum" in refused(*pretrain_from(store))
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["tasks"][1]["files"]["rewards.npy"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (store / "manifest.json").write_text(json.dumps(manifest))
    assert "rewards.npy: row 20 (task toy-b, episode 1) holds NaN" in refused(*pretrain_from(store))
    assert "row 20 (task toy-b, episode 1) holds NaN" in refused("quickstart", "--data", store, "--preset", "tiny")


def test_a_truncated_array(refused, store):
    path = store / "toy-a" / "observations.npy"
    path.write_bytes(path.read_bytes()[:-7])
    assert "toy-a/observations.npy: not a readable .npy file" in refused(*pretrain_from(store))


def test_damaged_results(refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run" / "results.json").write_text('{"tasks": {"toy-a"')
    for command in ("evaluate", "report"):
        assert "results.json: not valid JSON" in refused(command, tmp_path / "run")


def test_a_damaged_checkpoint(refused, store, pretrain):
    path = pretrain() / "world_model" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert "checkpoint.safetensors: not a readable safetensors file" in refused(*pretrain_from(store))


def test_wrong_names(refused, store):
    assert "--size 7: no such size; choose one of tiny, small, 1, 5" in refused(*pretrain_from(store), "--size", "7")
    assert "--preset best: no such preset; choose one of as_paper" in refused(
        "learn", "--world-model", "x", "--preset", "best"
    )
    assert "--preset best: no such recipe; choose one of quickstart, tiny" in refused("quickstart", "--preset", "best")
    assert "device 'tpu'" in refused(*pretrain_from(store), "--device", "tpu")
    assert "threads is 0" in refused(*pretrain_from(store), "--threads", "0")
    assert "seeds is 0" in refused("learn", "--world-model", "x", "--seeds", "0")


def test_missing_run(refused, tmp_path):
    for command in ("evaluate", "report"):
        assert f"{tmp_path / 'nowhere'}: no such run folder" in refused(command, tmp_path / "nowhere")
    assert "nowhere" in refused("learn", "--world-model", tmp_path / "nowhere")


def test_a_run_without_world_model_or_policies(refused, tmp_path, pretrain):
    (tmp_path / "empty").mkdir()
    assert "empty: no world model in this run; run `pwm pretrain" in refused("learn", "--world-model", "empty")
    assert "empty: no policies in this run; run `pwm learn" in refused("evaluate", tmp_path / "empty")
    assert "empty: not a run folder" in refused("report", "empty")
    run = pretrain()
    (run / "run.json").unlink()
    assert "run: has no run.json that names its data; add --data DIR" in refused("learn", "--world-model", run)
    weights = run / "world_model" / "weights.safetensors"
    assert "is a file; name a run folder, or add --out" in refused("learn", "--world-model", weights)


def test_a_run_of_other_settings(refused, store, pretrain, pwm):
    run = pretrain()
    assert (
        "was started with the setting pretrain.updates = 6, now it is 7; use the same value, or another --out"
        in refused(*pretrain_from(store), "--updates", "7")
    )
    assert "was started with seed 0, now it is 1" in refused(*pretrain_from(store), "--seed", "1")
    assert "model.latent_dim = 32, now it is 64" in refused(*pretrain_from(store), "--latent-dim", "64")
    learn = ("learn", "--world-model", run, *FAST_POLICY)
    assert pwm(*learn).code == 0
    assert "policy.gamma = 0.99, now it is 0.9" in refused(*learn, "--gamma", "0.9")
    before = (run / "run.json").read_text()
    assert "toy-a/seed0.safetensors: was learned in another fleet" in refused(*learn, "--seeds", "2")
    assert "another fleet" in refused(*learn, "--task", "toy-a")
    assert (run / "run.json").read_text() == before


def test_wrong_numbers(refused, store):
    assert "latent_dim 30 is not a multiple of simnorm_group 8" in refused(*pretrain_from(store), "--latent-dim", "30")
    assert "horizon" in refused(*pretrain_from(store, "run2"), "--horizon", "50")
    assert not list(Path.cwd().glob("run*/world_model/*"))
