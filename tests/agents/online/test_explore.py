"""Acting with noise: a function of member, round and step; alone as in company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pwm.agents.online.explore import ExploringPolicy, mean_actions, noisy_actions
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.deployed import export_policies
from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime.errors import PWMError
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel
from tests.stores import drifting_points

SIZES = {"one": (2, 1), "two": (2, 2)}


@pytest.fixture
def learner(tmp_path):
    store = drifting_points(tmp_path / "store")
    model = WorldModel(world_model_size("tiny"), store.tasks, [2, 2], [1, 2], seed=1).freeze()
    return FleetLearner(model, store, ["one", "two"], [0, 7], PolicyConfig(actor_units=(8,), critic_units=(8,)))


def seen(members=2, episodes=3, seed=0):
    return np.random.default_rng(seed).normal(size=(members, episodes, 2)).astype(np.float32)


def test_noise_repeats_by_round_and_changes_by_step_member_and_round(learner):
    x = seen()
    act, again, other = (noisy_actions(learner, number) for number in (4, 4, 5))
    first, second = act(x), act(x)
    np.testing.assert_array_equal(first, again(x))
    assert not np.allclose(first, second) and not np.allclose(first, other(x)) and np.abs(first).max() < 1
    noise = np.arctanh(first) - np.arctanh(mean_actions(export_policies(learner))(x))
    assert not np.allclose(noise[0], noise[1])


def test_the_noise_has_the_actors_own_width(learner):
    with torch.no_grad():
        learner.averaged_actor.log_std.fill_(np.log(0.5))
    x = np.zeros((2, 4000, 2), np.float32)
    noise = np.arctanh(noisy_actions(learner, 0)(x).astype(np.float64)) - np.arctanh(
        mean_actions(export_policies(learner))(x)
    )
    assert np.abs(noise.mean(axis=1)).max() < 0.03 and np.abs(noise.std(axis=1) - 0.5).max() < 0.03


def test_mean_actions_are_those_of_each_policy_padded(learner):
    x, policies = seen(), export_policies(learner)
    together = mean_actions(policies)(x)
    for k, policy in enumerate(policies):
        np.testing.assert_array_equal(
            together[k, :, : policy.action_dim], policy.act(x[k, :, : policy.observation_dim])
        )
        assert not together[k, :, policy.action_dim :].any()


def test_one_policy_for_a_robot(learner):
    fleet = noisy_actions(learner, 2)
    alone = ExploringPolicy("two", 7, SIZES["two"], 2, learner)
    for step in range(3):
        x = seen(episodes=1, seed=step)
        np.testing.assert_allclose(alone.act(x[1, 0]), fleet(x)[1, 0], atol=1e-6)
    with pytest.raises(PWMError, match=r"two: act on one finite observation \[2\], got \[3\]"):
        alone.act(np.zeros(3))
    with pytest.raises(PWMError, match="finite"):
        alone.act(np.array([0.0, np.nan]))


def test_before_anything_is_learned_actions_are_uniform():
    policy = ExploringPolicy("two", 7, SIZES["two"], 0)
    actions = np.stack([policy.act(np.zeros(2)) for _ in range(4000)])
    assert actions.shape == (4000, 2) and np.abs(actions).max() <= 1
    assert np.abs(np.sort(actions, axis=0) - np.linspace(-1, 1, 4000)[:, None]).max() < 0.06  # Kolmogorov distance 0.03
