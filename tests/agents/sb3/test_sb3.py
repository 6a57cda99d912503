"""PPO and SAC through Stable-Baselines3: the vector environment, the exported actor, resuming to the same bits."""

import itertools
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from pwm.acting.policy_file import load_policy, policy_path
from pwm.agents.sb3.config import PPOConfig, SACConfig
from pwm.learning import budget
from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import read_metrics
from pwm.tasks import registry
from tests.agents.point_mass import PointMass, best_return
from tests.toys import travelling_task

pytest.importorskip("stable_baselines3")
from stable_baselines3.common.vec_env import DummyVecEnv  # noqa: E402

import pwm.agents.sb3.environments as environments_module  # noqa: E402
import pwm.agents.sb3.train as train_module  # noqa: E402
from pwm.agents.sb3.environments import CountEpisodes, TensorVecEnv, registered_task  # noqa: E402
from pwm.agents.sb3.models import build_model, export_policy  # noqa: E402
from pwm.agents.sb3.train import sb3_checkpoint, train_sb3  # noqa: E402

PPO = PPOConfig(
    steps=1024, num_envs=8, horizon=16, batch_size=64, passes=2, units=(16,), log_every=1, checkpoint_every=256
)
SAC = SACConfig(
    steps=320,
    num_envs=8,
    gradient_steps=2,
    batch_size=32,
    buffer_size=160,
    random_steps=64,
    units=(16,),
    log_every=1,
    checkpoint_every=120,
)


def make(task, num_envs, seed, simulator, device):
    return PointMass(num_envs, seed, episode_length=20)


def test_the_vector_environment_tells_ends_as_stable_baselines_wants_them():
    environments = CountEpisodes(TensorVecEnv(PointMass(4, seed=0, episode_length=5)))
    observations = environments.reset()
    assert observations.shape == (4, 2) and observations.dtype == np.float32
    environments.venv.environment.state[0] = torch.tensor([1.99, 3.0])  # leaves the line at once
    _, _, done, infos = environments.step(np.zeros((4, 1), np.float32))
    assert done.tolist() == [True, False, False, False]
    assert infos[0]["TimeLimit.truncated"] is False and infos[0]["terminal_observation"][0] > 2
    for _ in range(4):
        observations, rewards, done, infos = environments.step(np.zeros((4, 1), np.float32))
    assert done.tolist() == [False, True, True, True]
    assert all(info["TimeLimit.truncated"] for info in infos[1:]) and infos[0] == {}
    assert not np.allclose(infos[1]["terminal_observation"], observations[1])  # the observation is the next episode's
    assert environments.statistics.values()["episodes"] == 4
    assert environments.statistics.values()["episode_length"] == (1 + 3 * 5) / 4


@pytest.mark.parametrize("config", [PPO, SAC], ids=["ppo", "sac"])
def test_the_exported_policy_acts_as_the_model_does(config):
    environments = TensorVecEnv(PointMass(8))
    model = build_model(environments, config, seed=0, device="cpu")
    model.learn(256)
    policy = export_policy(model, "point", 0, config, {})
    observations = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32) * 30  # beyond the bound too
    normalised = model.get_vec_normalize_env().normalize_obs(observations)
    assert (np.abs(normalised) == 10).any()
    expected, _ = model.predict(normalised, deterministic=True)
    assert np.abs(expected).max() <= 1 and len(np.unique(expected)) > 10
    np.testing.assert_allclose(policy.act(observations), expected, atol=1e-5)


@pytest.mark.parametrize("config", [PPO, SAC], ids=["ppo", "sac"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, monkeypatch, config):
    train_sb3("point", tmp_path / "whole", config, seed=3, make=make)
    ticks = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(budget, "perf_counter", lambda: float(next(ticks)))  # a look at the clock takes a second
        first = train_sb3("point", tmp_path / "parts", config, seed=3, make=make, time_budget=0.2)
    assert 0 < first.about["environment_steps"] < config.steps
    np.random.seed(0)  # whatever else draws numbers in between
    torch.manual_seed(0)
    train_sb3("point", tmp_path / "parts", config, seed=3, make=make)
    files = [policy_path(tmp_path / run, "point", 3) for run in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
    lines = [read_metrics(tmp_path / run) for run in ("whole", "parts")]
    timeless = [[{k: v for k, v in x.items() if "seconds" not in k} for x in run] for run in lines]
    assert timeless[0] == timeless[1] and timeless[0][-1]["step"] == config.steps
    assert {"return", "critic_loss", "actor_loss", "cpu_seconds"} <= set(lines[0][-1])
    before = files[1].read_bytes()
    train_sb3("point", tmp_path / "parts", config, seed=3, make=make)  # finished: nothing is done again
    assert files[1].read_bytes() == before and len(read_metrics(tmp_path / "parts")) == len(lines[1])


def test_a_kill_loses_minutes_not_steps(tmp_path, monkeypatch):
    """Where steps are slow, checkpoints follow the clock."""
    ticks = itertools.count(step=50)
    monkeypatch.setattr(train_module, "perf_counter", lambda: float(next(ticks)))  # a look at the clock takes 50 s
    saves = []
    write = train_module.write_described
    monkeypatch.setattr(train_module, "write_described", lambda *given: saves.append(given) or write(*given))
    train_sb3("point", tmp_path, replace(SAC, checkpoint_every=10**6), seed=3, make=make)
    assert len(saves) == 2  # by the clock, then not for 2,500 s after a save that took 50 s, and at the end


def test_other_settings_are_refused(tmp_path):
    train_sb3("point", tmp_path, PPO, make=make)
    with pytest.raises(PWMError, match="ppo.horizon = 16, now it is 8"):
        train_sb3("point", tmp_path, PPOConfig(**vars(PPO) | {"horizon": 8}), make=make)
    with pytest.raises(PWMError, match="was learned in another fleet"):
        train_sb3("point", tmp_path, SAC, make=make)
    with pytest.raises(PWMError, match="holds a ppo checkpoint, not a sac checkpoint"):
        sb3_checkpoint(tmp_path, PPO, "point", 0).rename(sb3_checkpoint(tmp_path, SAC, "point", 0))
        train_sb3("point", tmp_path, SAC, make=make)
    with pytest.raises(PWMError, match="steps is 0"):
        PPOConfig(steps=0)


def test_ppo_learns_the_point_mass():
    config = PPOConfig(steps=60_000, num_envs=32, horizon=32, batch_size=256, learning_rate=2e-3, units=(32, 32))
    model = build_model(TensorVecEnv(PointMass(32)), config, seed=0, device="cpu")
    before = model.get_vec_normalize_env().venv.statistics
    model.learn(2_000)
    early = before.values()["return"]
    model.learn(60_000)
    late = before.values()["return"]
    assert early < 35 and late > best_return() - 4


def test_any_registered_task(tmp_path, monkeypatch):
    from pwm.tasks import registry
    from pwm.tasks.gymnasium_env import task_from_gymnasium

    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    registry.register_task(task_from_gymnasium("Pendulum-v1", task_id="pendulum-test"))
    config = PPOConfig(steps=64, num_envs=2, horizon=16, batch_size=32, units=(8,), log_every=1)
    train_sb3("pendulum-test", tmp_path, config, differentiable=False)
    policy = load_policy(policy_path(tmp_path, "pendulum-test", 0))
    environment = registry.get_task("pendulum-test").make()
    observation, _ = environment.reset(seed=0)
    assert isinstance(environment.action_space, gymnasium.spaces.Box)
    assert policy.act(observation).shape == (1,)
    assert policy.about["algorithm"] == "ppo" and policy.about["environment_steps"] == 64


def test_a_registered_task_steps_as_dummy_vec_env_does(monkeypatch):
    spec = travelling_task("falling-sb3", 5, wall=1.5)
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {spec.id: spec})
    theirs = DummyVecEnv([spec.make for _ in range(3)])
    theirs.seed(7)
    monkeypatch.setattr(environments_module, "choose_workers", lambda asked, steps: 2)
    ours = registered_task(spec.id, 3, 7, steps=1)
    assert np.array_equal(ours.reset(), theirs.reset())
    random, ends = np.random.default_rng(0), set()
    for _ in range(40):
        actions = random.uniform(-1, 1, (3, 2)).astype(np.float32)
        mine, other = ours.step(actions), theirs.step(actions)
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(mine[:3], other[:3], strict=True))
        for own, info in zip(mine[3], other[3], strict=True):
            assert ("terminal_observation" in own) == ("terminal_observation" in info)
            if own:
                assert np.array_equal(own["terminal_observation"], info["terminal_observation"])
                assert own["TimeLimit.truncated"] == info["TimeLimit.truncated"]
                ends.add(own["TimeLimit.truncated"])
    assert ends == {True, False}
    ours.close()
