"""Policies that plan, as files: what they hold, and that a row's plan does not depend on its company."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pwm.acting.policy_file import load_policy
from pwm.agents.plan_config import PlanConfig
from pwm.agents.planner import draw, plan
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learn import fleet_checkpoint, learn
from pwm.agents.pwm.learner import FleetLearner
from pwm.agents.pwm.planned import PlannedPolicy, planned_policies
from pwm.runtime.errors import PWMError
from pwm.runtime.random import key_of

CONFIG = PolicyConfig(
    updates=3, batch_size=4, horizon=2, actor_units=(8,), critic_units=(8,), critic_passes=1, critic_average=0.5
)
PLANNING = PlanConfig(samples=16, policy_samples=4, elites=4, iterations=2)
MEMBERS = [("wide", 0), ("wide", 3), ("narrow", 0), ("narrow", 3)]


@pytest.fixture
def run(model, store, tmp_path):
    learn(model, store, tmp_path, ["wide", "narrow"], CONFIG, seeds=[0, 3])
    return tmp_path


@pytest.mark.parametrize("critic_average", [0.5, 0.0])
def test_it_is_the_plan_of_the_members_own_actor_and_critics(model, store, tmp_path, critic_average):
    config = replace(CONFIG, critic_average=critic_average)
    learn(model, store, tmp_path, ["wide", "narrow"], config, seeds=[0, 3])
    learner = FleetLearner(model, store, *zip(*MEMBERS, strict=True), config)
    learner.load(fleet_checkpoint(tmp_path, MEMBERS))
    policies = list(planned_policies(tmp_path, model, PLANNING))
    assert [(policy.task, policy.seed) for policy in policies] == MEMBERS
    observations = torch.randn(4, 5, 5)
    observations[2:, :, 2:] = 0.0
    keys = torch.tensor([key_of(seed, task, "plan") for task, seed in MEMBERS])
    noise = draw(keys, 0, 1, 3, PLANNING)
    noise = noise._replace(policy=noise.policy.expand(-1, -1, 5, -1, -1))
    noise = noise._replace(samples=noise.samples.expand(-1, -1, -1, 5, -1, -1))
    critic = learner.target_critic if critic_average else learner.critic
    functions = (learner.bound, learner.averaged_actor, critic.value)
    latent = learner.bound.encode(observations)
    expected, _ = plan(*functions, latent, None, noise, PLANNING, config.gamma, config.reward_space)
    for k, policy in enumerate(policies):
        actions = policy.act(observations[k, :, : policy.observation_dim].numpy())
        np.testing.assert_allclose(actions, expected[k, :, : policy.action_dim], atol=1e-4)


def test_file_round_trip_and_rows_do_not_mix(model, run):
    policy = list(planned_policies(run, model, PLANNING))[2]
    policy.save(run / "planned")
    loaded = load_policy(run / "planned")
    assert isinstance(loaded, PlannedPolicy) and (loaded.task, loaded.seed, loaded.about["updates"]) == ("narrow", 0, 3)
    observations = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    many = loaded.act(observations)
    assert many.shape == (40, 1) and many.dtype == np.float32 and np.abs(many).max() <= 1.0
    np.testing.assert_array_equal(many, policy.act(observations))
    np.testing.assert_allclose(loaded.act(observations[7]), many[7], atol=1e-4)
    np.testing.assert_allclose(loaded.act(observations.reshape(4, 10, 2)).reshape(40, 1), many, atol=1e-4)
    with pytest.raises(PWMError, match="width 2"):
        loaded.act(np.zeros(3))
    with pytest.raises(PWMError, match="not finite"):
        loaded.act(np.array([0.0, np.nan]))


def test_what_cannot_be_planned_with_is_named(model, store, run, monkeypatch):
    with pytest.raises(PWMError, match="run `pwm learn` first"):
        next(planned_policies(run / "nowhere", model, PLANNING))
    with torch.no_grad():
        model.embedding += 0.1
    with pytest.raises(PWMError, match="another world model"):
        next(planned_policies(run, model, PLANNING))


def test_a_fleet_that_has_not_finished_is_refused(model, store, tmp_path):
    learner = FleetLearner(model, store, ["wide"], [0], CONFIG)
    learner.update()
    learner.save(fleet_checkpoint(tmp_path, [("wide", 0)]))
    with pytest.raises(PWMError, match="1 of 3 updates; finish it"):
        next(planned_policies(tmp_path, model, PLANNING))
