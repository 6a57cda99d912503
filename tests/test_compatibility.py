"""What release 0.1.0 wrote still opens, acts and resumes (`tests/fixtures/make.py` says what is there).

Numbers are compared up to rounding, since another processor or number of threads rounds otherwise. On the machine that
wrote the fixtures, PWM_EXACT=1 OMP_NUM_THREADS=1 compares bits.
"""

import json
import os
import shutil
from collections.abc import Container
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import pwm
from pwm.agents.shac.config import ShacConfig
from pwm.agents.shac.train import train_shac
from pwm.cli.main import main
from pwm.data.store import open_store
from pwm.runtime.metrics import read_metrics
from pwm.runtime.run_folder import read_run_file
from tests.agents.point_mass import PointMass
from tests.fixtures.make import FLEETS, MODEL, PPO, PRETRAIN, SHAC, SIZES, observations

OLD = Path(__file__).parent / "fixtures" / "0.1.0"
TOLERANCE = 0.0 if os.environ.get("PWM_EXACT") == "1" else 1e-5
LATER = {("behaviour_by", "auto")}
"""Settings that came after 0.1.0, with the value that does what was done before."""
ACTIONS = json.loads((OLD / "actions.json").read_text())


@pytest.fixture
def copy(tmp_path):
    """`copy("parts")` -> that run of 0.1.0, free to change."""
    return lambda name: Path(shutil.copytree(OLD / name, tmp_path / name))


@pytest.fixture
def store():
    return pwm.open_dataset(OLD / "store")


def assert_same_files(ours: Path, old: Path, pattern: str) -> None:
    """The same files, the same description in each, the same tensors."""
    names = sorted(str(path.relative_to(old)) for path in old.glob(pattern))
    assert names and names == sorted(str(path.relative_to(ours)) for path in ours.glob(pattern))
    for name in names:
        with safe_open(ours / name, "numpy") as a, safe_open(old / name, "numpy") as b:
            mine, wanted = (json.loads(file.metadata()["pwm"]) for file in (a, b))
            for about in (mine, wanted):
                about.pop("progress", None)  # seconds
                about.pop("world model", None)  # a hash of weights, or their description
            for part in ("config", "policy"):
                without_later(mine.get(part, {}), wanted.get(part, {}))
            assert mine == wanted and sorted(a.keys()) == sorted(b.keys()), name
            for key in b.keys():
                x, y = a.get_tensor(key), b.get_tensor(key)
                assert x.dtype == y.dtype and x.shape == y.shape, (name, key)
                np.testing.assert_allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"{name}: {key}")


def without_later(settings: dict, known: Container[str]) -> None:
    """Remove the settings that are not known yet, which must be at what was done before."""
    for field in [field for field in settings if field not in known]:
        assert (field, settings.pop(field)) in LATER


def assert_same_metrics(ours: Path, old: Path, phase: str) -> None:
    def lines(run):
        """(task, seed, step) -> numbers; fleets may have taken turns."""
        return {
            (line.get("task"), line.get("seed"), line["step"]): {
                k: v for k, v in line.items() if isinstance(v, float) and "seconds" not in k
            }
            for line in read_metrics(run)
            if line["phase"] == phase
        }

    mine, wanted = lines(ours), lines(old)
    assert mine.keys() == wanted.keys() and mine
    for key, numbers in wanted.items():
        same = {name: mine[key][name] for name in numbers}  # later versions may log more
        assert same == pytest.approx(numbers, rel=10 * TOLERANCE, abs=10 * TOLERANCE)


def test_the_store_opens_and_is_whole():
    store = open_store(OLD / "store", verify=True)
    assert store.fingerprint() == read_run_file(OLD / "whole")["data"]["fingerprint"]
    assert {task: (store[task].observation_dim, store[task].action_dim) for task in store.tasks} == SIZES
    assert store["toy-a"].lengths.tolist() == [12, 12, 7, 12, 12, 9, 12, 12]
    assert np.flatnonzero(store["toy-a"].terminations).tolist() == [30, 63]
    first = np.random.default_rng(0).normal(size=(13, 3)).astype(np.float32)
    np.testing.assert_array_equal(store["toy-a"].observations[:13], first)


@pytest.mark.parametrize("path", ACTIONS)
def test_policies_act_as_they_did(path):
    policy = pwm.load_policy(OLD / path)
    assert path.endswith(f"{policy.task}/seed{policy.seed}.safetensors")
    actions = policy.act(observations(policy.observation_dim))
    assert actions.shape == (5, policy.action_dim) and actions.dtype == np.float32
    np.testing.assert_allclose(actions, ACTIONS[path], rtol=0, atol=TOLERANCE / 10)


def test_pretraining_resumes(copy, store, capsys):
    run = copy("parts")
    model = pwm.pretrain(store, run, MODEL, PRETRAIN, device="cpu")
    assert "resumes after update 3 of 8" in capsys.readouterr().out
    assert model.tasks == tuple(SIZES)
    assert_same_files(run, OLD / "whole", "world_model/*.safetensors")
    assert_same_metrics(run, OLD / "whole", "world_model")
    assert read_run_file(run)["config"]["pretrain"] == read_run_file(OLD / "whole")["config"]["pretrain"]


def test_learning_resumes(copy, store, capsys):
    run = copy("fleet-parts")
    for tasks, config, seeds in FLEETS:
        pwm.learn(OLD / "whole", store, run, tasks, config, seeds, "cpu")
        assert f"resume after update 3 of {config.total_updates}" in capsys.readouterr().out
    assert_same_files(run, OLD / "whole", "policies/**/*.safetensors")
    assert_same_metrics(run, OLD / "whole", "policy")
    fleets = read_run_file(run)["config"]["fleets"]
    for fleet in fleets.values():
        without_later(fleet["policy"], fleet["policy"].keys() - {field for field, _ in LATER})
    assert fleets == read_run_file(OLD / "whole")["config"]["fleets"]


def test_a_finished_run_is_left_as_it_is(copy, store, capsys):
    run = copy("whole")
    model = pwm.pretrain(store, run, MODEL, PRETRAIN, device="cpu")
    for tasks, config, seeds in FLEETS:
        policies = pwm.learn(model, store, run, tasks, config, seeds, "cpu")
        assert [policy.about["updates"] for policy in policies] == [config.total_updates] * 2
    assert capsys.readouterr().out.count("skipped") == 3
    for path in (OLD / "whole").glob("**/*.safetensors"):
        assert (run / path.relative_to(OLD / "whole")).read_bytes() == path.read_bytes()


def test_a_finished_run_is_planned_with_and_reported(copy, tmp_path):
    settings = read_run_file(OLD / "planned")["config"]["plan"]
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["plan", str(OLD / "whole"), "--out", str(tmp_path / "planned"), *flags]) == 0
    name = "policies/toy-b/seed1.safetensors"
    assert_same_files(tmp_path / "planned", OLD / "planned", name)
    run = copy("whole")
    page = pwm.write_report(run)
    assert "toy-b" in Path(page).read_text()


def make_points(task, num_envs, seed, simulator, device):
    return PointMass(num_envs, seed, episode_length=6)


def test_shac_resumes(copy):
    run = copy("shac-parts")
    train_shac("point", run, ShacConfig(**SHAC), make=make_points)
    assert_same_files(run, OLD / "shac", "policies/**/*.safetensors")
    assert_same_metrics(run, OLD / "shac", "train")


def test_ppo_resumes(copy):
    pytest.importorskip("stable_baselines3")
    from pwm.agents.sb3.config import PPOConfig
    from pwm.agents.sb3.train import train_sb3

    run = copy("ppo-parts")
    train_sb3("point", run, PPOConfig(**PPO), make=make_points)
    assert_same_files(run, OLD / "ppo", "policies/**/*.safetensors")
    assert_same_metrics(run, OLD / "ppo", "train")
