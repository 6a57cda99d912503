"""`pwm train` from the command line, on a task of a few numbers."""

from dataclasses import replace

import numpy as np
import pytest

from pwm.acting.policy_file import policy_path
from pwm.agents.shac import train as shac_train
from pwm.runtime.run_folder import read_run_file
from pwm.tasks import registry
from pwm.tasks import vector as environment
from pwm.tasks.gymnasium_env import task_from_factory
from tests.agents.point_mass import PointMass

SHAC = "--updates 4 --num-envs 8 --horizon 8 --critic-passes 1 --log-every 1".split()


class PointMassEnv:
    """One point mass as a Gymnasium environment."""

    def __new__(cls, render_mode=None):
        import gymnasium
        import torch

        class Env(gymnasium.Env):
            observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
            action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                self.points = PointMass(1, seed=int(self.np_random.integers(1 << 30)), episode_length=20)
                return self.points.reset()[0].numpy(), {}

            def step(self, action):
                step = self.points.step(torch.as_tensor(action, dtype=torch.float32)[None])
                return step.final_obs[0].numpy(), float(step.reward), bool(step.terminated), False, {}

        return Env()


@pytest.fixture(autouse=True)
def point(monkeypatch):
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    registry.register_task(task_from_factory(PointMassEnv, task_id="point", episode_length=20))
    monkeypatch.setattr(environment, "is_differentiable", lambda task: task == "point")

    def make(task, num_envs, seed, simulator, device):
        return PointMass(num_envs, seed, episode_length=20)

    monkeypatch.setitem(shac_train.train_shac.__kwdefaults__, "make", make)


def test_train_evaluate_report(pwm, tmp_path):
    outcome = pwm("train", "--task", "point", "--out", tmp_path, "--seeds", "2", *SHAC)
    assert outcome.code == 0 and f"pwm evaluate {tmp_path}" in outcome.out
    assert "SHAC point seed 1: 4/4" in outcome.out
    record = read_run_file(tmp_path)
    assert record["config"]["train"] == {"algorithm": "shac", "task": "point"}
    assert record["config"]["shac"]["updates"] == 4 and record["tasks"][0]["id"] == "point"
    assert record["command"].startswith("pwm train --task point")
    assert not {"stable-baselines3", "newton"} & set(record["versions"])
    assert (tmp_path / "clock.json").exists()
    outcome = pwm("evaluate", tmp_path, "--episodes", "2", "--film-seconds", "0")
    assert outcome.code == 0 and "point" in outcome.out
    outcome = pwm("report", tmp_path)
    assert outcome.code == 0
    assert "point" in (tmp_path / "report.html").read_text()
    files = [policy_path(tmp_path, "point", seed).read_bytes() for seed in (0, 1)]
    again = pwm("train", "--task", "point", "--out", tmp_path, "--seeds", "2", *SHAC)
    assert again.code == 0
    assert files == [policy_path(tmp_path, "point", seed).read_bytes() for seed in (0, 1)]


def test_other_settings_and_other_algorithms_need_another_folder(pwm, tmp_path):
    assert pwm("train", "--task", "point", "--out", tmp_path, *SHAC).code == 0
    outcome = pwm("train", "--task", "point", "--out", tmp_path, *SHAC, "--gamma", "0.9")
    assert outcome.code == 2 and "shac.gamma = 0.99, now it is 0.9" in outcome.err
    outcome = pwm("train", "--algo", "ppo", "--task", "point", "--out", tmp_path)
    assert outcome.code == 2 and "train.algorithm = shac, now it is ppo" in outcome.err
    assert read_run_file(tmp_path)["config"]["shac"]["gamma"] == 0.99
    assert pwm("train", "--task", "point", "--out", tmp_path, *SHAC, "--checkpoint-every", "2").code == 0


def test_a_change_of_a_file_that_the_task_is_built_from_is_noticed(pwm, tmp_path, monkeypatch):
    skeleton = tmp_path / "human.xml"
    skeleton.write_text("one")
    monkeypatch.setattr(PointMassEnv, "files", (str(skeleton),), raising=False)
    registry._tasks["point"] = replace(registry._tasks["point"], make=PointMassEnv)
    train = ("train", "--task", "point", "--out", tmp_path / "run", *SHAC)
    assert pwm(*train).code == 0
    evaluate = ("evaluate", tmp_path / "run", "--episodes", "1", "--film-seconds", "0")
    assert pwm(*train).code == 0
    skeleton.write_text("two")
    for command in (train, evaluate):
        outcome = pwm(*command)
        assert outcome.code == 2 and "other file human.xml" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "pont", *SHAC], "unknown task 'pont'; did you mean point"),
        (["--task", "point", "--seeds", "0"], "seeds is 0"),
        (["--task", "point", "--seeds", "2", "--save-replay", "x"], "--save-replay"),
        (["--task", "point", "--time-budget", "0"], "time-budget is 0"),
        (["--task", "point", "--horizon", "0"], "horizon is 0"),
        (["--task", "point", "--device", "tpu"], "device 'tpu'"),
    ],
)
def test_wrong_input_ends_with_one_line(pwm, tmp_path, arguments, message):
    outcome = pwm("train", "--out", tmp_path / "run", *arguments)
    assert outcome.code == 2 and message in outcome.err


def test_help_shows_the_settings_of_the_algorithm(pwm):
    assert "--critic-passes" in pwm("train", "--help").out
    assert "--clip-range" in pwm("train", "--algo", "ppo", "--help").out
    assert "--buffer-size" in pwm("train", "--algo=sac", "--help").out
    hopper = pwm("train", "--task", "hopper", "--help").out.split("--critic-learning-rate")[1]
    assert hopper.split("default: ")[1].startswith("0.0002")


def test_ppo_and_sac(pwm, tmp_path, monkeypatch):
    pytest.importorskip("stable_baselines3")
    from pwm.agents.sb3 import train as sb3_train

    make = shac_train.train_shac.__kwdefaults__["make"]
    monkeypatch.setitem(sb3_train.train_sb3.__kwdefaults__, "make", make)
    ppo = "--steps 128 --num-envs 4 --horizon 16 --batch-size 32 --units 8".split()
    sac = "--steps 64 --num-envs 4 --batch-size 16 --buffer-size 64 --random-steps 16 --units 8".split()
    for algorithm, settings in (("ppo", ppo), ("sac", sac)):
        out = tmp_path / algorithm
        assert pwm("train", "--algo", algorithm, "--task", "point", "--out", out, *settings).code == 0
        assert pwm("evaluate", out, "--episodes", "1", "--film-seconds", "0").code == 0
        assert read_run_file(out)["versions"]["stable-baselines3"]


def test_without_stable_baselines_the_cure_is_named(pwm, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    outcome = pwm("train", "--algo", "ppo", "--task", "point", "--out", tmp_path / "run")
    assert outcome.code == 2 and "pip install 'pwm[baselines]'" in outcome.err
    assert not (tmp_path / "run").exists()
