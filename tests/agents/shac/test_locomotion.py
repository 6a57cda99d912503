"""The baselines on the real engine: a few updates, resumed to the same bits, through both doors."""

import itertools

import pytest
import torch

from pwm.acting.policy_file import policy_path
from pwm.agents.shac.config import ShacConfig
from pwm.agents.shac.train import train_shac
from pwm.learning import budget
from pwm.runtime.errors import PWMError
from pwm.tasks.environment_config import EnvironmentConfig
from pwm.tasks.vector import is_differentiable, make_environment

pytest.importorskip("newton")
SHAC = ShacConfig(updates=3, num_envs=4, horizon=4, critic_passes=2, checkpoint_every=1)


def test_shac_on_hopper_resumes_to_the_same_bits(tmp_path, monkeypatch):
    simulator = EnvironmentConfig(mass_matrix_every=4, contact_stiffness=1e4)
    whole = train_shac("hopper", tmp_path / "whole", SHAC, seed=1, simulator=simulator)
    ticks = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(budget, "perf_counter", lambda: float(next(ticks)))
        first = train_shac("hopper", tmp_path / "parts", SHAC, seed=1, simulator=simulator, time_budget=0.05)
    assert 0 < first.about["updates"] < 3
    parts = train_shac("hopper", tmp_path / "parts", SHAC, seed=1, simulator=simulator)
    files = [policy_path(tmp_path / run, "hopper", 1) for run in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not torch.equal(first.net[0].weight, parts.net[0].weight)
    assert whole.about["simulator"] == {"mass_matrix_every": 4, "contact_stiffness": 1e4}


def test_ppo_on_hopper_resumes_to_the_same_bits(tmp_path, monkeypatch):
    pytest.importorskip("stable_baselines3")
    from pwm.agents.sb3.config import PPOConfig
    from pwm.agents.sb3.train import train_sb3

    config = PPOConfig(steps=128, num_envs=4, horizon=8, batch_size=16, passes=1, units=(8,), log_every=1)
    train_sb3("hopper", tmp_path / "whole", config)
    ticks = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(budget, "perf_counter", lambda: float(next(ticks)))
        first = train_sb3("hopper", tmp_path / "parts", config, time_budget=0.05)
    assert 0 < first.about["environment_steps"] < 128
    train_sb3("hopper", tmp_path / "parts", config)
    files = [policy_path(tmp_path / run, "hopper", 0) for run in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_which_tasks_have_a_differentiable_simulator():
    assert is_differentiable("ant") and not is_differentiable("cup-catch")
    with pytest.raises(PWMError, match="simulator of the task cup-catch; they do for hopper, ant"):
        make_environment("cup-catch", 1, 0)
    with pytest.raises(PWMError, match="unknown task 'ants'; did you mean ant"):
        make_environment("ants", 1, 0)
