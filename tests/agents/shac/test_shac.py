"""SHAC as a whole: it solves the point mass, resumes to the same bits, and its policy file stands alone."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pwm.acting.policy_file import load_policy, policy_path
from pwm.agents.shac.config import ShacConfig, shac_preset
from pwm.agents.shac.learner import ShacLearner
from pwm.agents.shac.train import export_shac, shac_checkpoint, train_shac
from pwm.data.store import open_store
from pwm.learning import budget
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import read_metrics
from pwm.tasks.environment_config import EnvironmentConfig
from tests.agents.point_mass import PointMass, best_return
from tests.interrupt import updates_of

SMALL = ShacConfig(updates=10, num_envs=8, horizon=8, critic_passes=2, checkpoint_every=3, log_every=1)


def make(task, num_envs, seed, simulator, device):
    return PointMass(num_envs, seed, episode_length=20)


def begin(out):
    """A run that stopped after its first update."""
    learner = ShacLearner(make("point", 8, 0, None, "cpu"), "point", 0, SMALL, simulator=to_dict(EnvironmentConfig()))
    learner.update()
    learner.save(shac_checkpoint(out, "point", 0), {})
    export_shac(learner).save(policy_path(out, "point", 0))


def play(policy, episodes=256):
    environment = PointMass(episodes, seed=1)
    observation, total = environment.reset(), torch.zeros(episodes)
    for _ in range(environment.episode_length):
        step = environment.step(torch.as_tensor(policy.act(observation.numpy())))
        total, observation = total + step.reward, step.obs
    return float(total.mean())


def test_it_solves_the_point_mass():
    config = ShacConfig(updates=120, num_envs=16, horizon=16, critic_passes=4, actor_learning_rate=5e-3)
    learner = ShacLearner(PointMass(16), "point", 0, config)
    before = play(export_shac(learner))
    for _ in range(120):
        _, values = learner.update()
    best, found = best_return(), play(export_shac(learner))
    assert before < best - 5
    assert found > best - 0.3
    assert values["skipped_steps"] == 0
    # gamma 0.99 and a reward that ends near 1: the value of a state at rest nears 100, and every episode is full length
    assert learner.episodes.values()["episode_length"] == 50


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    whole = train_shac("point", tmp_path / "whole", SMALL, seed=4, make=make)
    with pytest.raises(KeyboardInterrupt), updates_of(ShacLearner, stop=5):
        train_shac("point", tmp_path / "parts", SMALL, seed=4, make=make)
    with updates_of(ShacLearner) as again:  # the checkpoint is at 3; updates 4 and 5 are lost and done again
        resumed = train_shac("point", tmp_path / "parts", SMALL, seed=4, make=make)
        checkpoint = shac_checkpoint(tmp_path / "parts", "point", 4).read_bytes()
        train_shac("point", tmp_path / "parts", SMALL, seed=4, make=make)  # finished: nothing is done again
    assert again == [3, 4, 5, 6, 7, 8, 9]
    assert shac_checkpoint(tmp_path / "parts", "point", 4).read_bytes() == checkpoint
    files = [policy_path(tmp_path / run, "point", 4) for run in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    lines = [read_metrics(tmp_path / run) for run in ("whole", "parts")]
    timeless = [[{k: v for k, v in x.items() if "seconds" not in k} for x in run] for run in lines]
    assert timeless[0] == timeless[1]
    assert [line["step"] for line in lines[0]] == [64 * k for k in range(1, 11)]
    assert {"return", "reward", "critic_loss", "actor_grad_norm", "cpu_seconds"} <= set(lines[0][-1])


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(PWMError, match="shac.horizon = 8, now it is 4"):
        train_shac("point", tmp_path, ShacConfig(updates=10, num_envs=8, horizon=4, critic_passes=2), make=make)
    with pytest.raises(PWMError, match="simulator.mass_matrix_every = None, now it is 4"):
        train_shac("point", tmp_path, SMALL, simulator=EnvironmentConfig(mass_matrix_every=4), make=make)
    shac_checkpoint(tmp_path, "point", 0).unlink()
    with pytest.raises(PWMError, match="was learned in another fleet"):
        train_shac("point", tmp_path, SMALL, make=make)


def test_the_time_budget_stops_and_a_larger_one_goes_on(tmp_path, monkeypatch):
    whole = train_shac("point", tmp_path / "whole", SMALL, make=make)
    ticks = itertools.count()
    monkeypatch.setattr(budget, "perf_counter", lambda: float(next(ticks)))  # a look at the clock takes a second
    policy = train_shac("point", tmp_path / "parts", SMALL, make=make, time_budget=0.2)
    done = policy.about["updates"]
    assert 1 < done < 9
    again = train_shac("point", tmp_path / "parts", SMALL, make=make, time_budget=0.2)
    assert again.about["updates"] == done  # the budget counts all calls
    more = train_shac("point", tmp_path / "parts", SMALL, make=make, time_budget=0.3)
    assert done < more.about["updates"] < 10
    policy = train_shac("point", tmp_path / "parts", SMALL, make=make)
    assert policy.about["updates"] == 10
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), policy.state_dict().values()))
    with pytest.raises(PWMError, match="time-budget is 0"):
        train_shac("point", tmp_path / "zero", SMALL, make=make, time_budget=0)


def test_another_seed_is_another_policy(tmp_path):
    policies = [train_shac("point", tmp_path, SMALL, seed=seed, make=make) for seed in (0, 1)]
    assert not torch.equal(policies[0].net[0].weight, policies[1].net[0].weight)
    assert [policy.seed for policy in policies] == [0, 1]
    assert {line["seed"] for line in read_metrics(tmp_path)} == {0, 1}


def test_the_deployed_policy_acts_by_the_mean_and_keeps_its_moments(tmp_path):
    learner = ShacLearner(PointMass(8), "point", 0, SMALL)
    for _ in range(3):
        learner.update()
    export_shac(learner).save(tmp_path / "policy.safetensors")
    policy = load_policy(tmp_path / "policy.safetensors")
    observations = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    noiseless = learner.actor(learner.normalise(torch.as_tensor(observations)), torch.zeros(1))
    np.testing.assert_allclose(policy.act(observations), noiseless.detach().numpy(), atol=1e-6)
    mean = learner.normaliser.moments()[0].clone()
    assert torch.equal(policy.mean, mean) and mean.abs().max() > 0
    before = policy.act(observations)
    learner.update()  # the learner's moments move on
    assert not torch.equal(learner.normaliser.moments()[0], mean)
    assert policy.act(observations + 100).shape == (5, 1)
    np.testing.assert_array_equal(policy.act(observations), before)
    assert policy.about["algorithm"] == "shac" and json.dumps(policy.about)


def test_the_replay_becomes_a_store(tmp_path):
    whole = tmp_path / "whole_store"
    config = ShacConfig(updates=10, num_envs=8, horizon=8, critic_passes=1, checkpoint_every=3)
    train_shac("point", tmp_path / "a", config, make=make, save_replay=whole)
    store = open_store(whole, verify=True)
    data = store["point"]
    assert (data.observation_dim, data.action_dim, data.episode_length) == (2, 1, 20)
    lengths = np.diff(np.array(data.offsets))
    assert lengths.max() == 20 and len(lengths) >= 8 * 80 // 20 - 8
    # rewards follow from the recorded observations and actions, so nothing is shifted or mixed between rows
    for k, steps in enumerate(lengths):
        row, seen = data.offsets[k], data.offsets[k] + k
        x, v = data.observations[seen + 1 : seen + steps + 1].T
        a = data.actions[row : row + steps, 0]
        expected = 1 - x**2 - 0.1 * v**2 - 0.01 * a**2
        np.testing.assert_allclose(data.rewards[row : row + steps], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(x, data.observations[seen : seen + steps] @ [1, 0.1], rtol=1e-5, atol=1e-6)
        assert data.terminations[row : row + steps].any() == (steps < 20)
    assert not (tmp_path / "a" / "replay" / "point-seed0").exists()

    parts = tmp_path / "parts_store"
    with pytest.raises(KeyboardInterrupt), updates_of(ShacLearner, stop=5):
        train_shac("point", tmp_path / "b", config, make=make, save_replay=parts)
    assert not (parts / "manifest.json").exists()
    train_shac("point", tmp_path / "b", config, make=make, save_replay=parts)
    assert open_store(parts).fingerprint() == store.fingerprint()
    train_shac("point", tmp_path / "b", config, make=make, save_replay=parts)  # finished: left alone
    with pytest.raises(PWMError, match="already holds an episode store"):
        train_shac("point", tmp_path / "c", config, make=make, save_replay=parts)


def test_a_replay_cannot_begin_in_the_middle(tmp_path):
    begin(tmp_path)
    with pytest.raises(PWMError, match="update 1 was not recorded"):
        train_shac("point", tmp_path, SMALL, make=make, save_replay=tmp_path / "store")


def test_a_gradient_that_is_not_finite_is_left_out_and_counted():
    learner = ShacLearner(PointMass(8), "point", 0, SMALL)
    before = [p.clone() for p in learner.actor.parameters()]
    exploding = sum(p.square().sum() for p in learner.actor.parameters()) * float("inf")
    learner._step_actor(exploding)
    assert learner.skipped == 1
    assert all(torch.equal(a, b) for a, b in zip(before, learner.actor.parameters()))
    learner.update()
    assert learner.skipped == 1
    assert not all(torch.equal(a, b) for a, b in zip(before, learner.actor.parameters()))


def test_a_critic_that_diverges_stops_before_the_checkpoint_is_overwritten(tmp_path, monkeypatch):
    update = ShacLearner.update

    def broken(self):
        rollout, values = update(self)
        return rollout, values | ({"critic_loss": torch.tensor(float("nan"))} if self.updates == 6 else {})

    monkeypatch.setattr(ShacLearner, "update", broken)
    with pytest.raises(PWMError, match="critic_loss is not a finite number at update 6; lower the learning rates"):
        train_shac("point", tmp_path, replace(SMALL, log_every=100), make=make)  # due for a checkpoint, not for a line
    kept = ShacLearner(make("point", 8, 0, None, "cpu"), "point", 0, SMALL, simulator=to_dict(EnvironmentConfig()))
    kept.load(shac_checkpoint(tmp_path, "point", 0))
    assert kept.updates == 3 and load_policy(policy_path(tmp_path, "point", 0)).about["updates"] == 3


def test_settings_are_checked():
    with pytest.raises(PWMError, match="horizon is 0"):
        ShacConfig(horizon=0)
    with pytest.raises(PWMError, match="mass_matrix_every is 0"):
        EnvironmentConfig(mass_matrix_every=0)
    with pytest.raises(PWMError, match="there are 4 environments"):
        ShacLearner(PointMass(4), "point", 0, SMALL)
    assert shac_preset("hopper").horizon == 32 and shac_preset("anything") == ShacConfig()
