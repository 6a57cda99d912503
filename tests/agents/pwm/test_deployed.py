"""A deployed policy is the actor that was learned: from a file, for one observation or many, after a change."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pwm.acting.policy_file import act_together, load_policy
from pwm.agents.pwm.deployed import export_policies
from pwm.runtime.errors import PWMError
from tests.agents.pwm.test_learner import CONFIG, fleet


def test_policy_file_round_trip_and_act(model, store, tmp_path):
    model.normalise_observations("wide", torch.linspace(-1, 1, 5), torch.linspace(0.5, 2, 5))
    learner = fleet(model, store, [("wide", 0), ("narrow", 2)], replace(CONFIG, actor_output_gain=1.0))
    for _ in range(3):
        learner.update()
    assert not torch.allclose(learner.averaged_actor.net.weights[0], learner.actor.net.weights[0], rtol=0, atol=1e-5)
    policies = export_policies(learner)
    observations = torch.randn(2, 6, 5)
    observations[1, :, 2:] = 0.0
    latent = learner.bound.encode(observations)
    expected = (learner.averaged_actor.mean(latent) * learner.bound.action_mask).numpy()
    np.testing.assert_allclose(act_together(policies)(observations.numpy()), expected, atol=1e-5)
    policies[1].save(tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert (loaded.task, loaded.seed, loaded.action_dim) == ("narrow", 2, 1) and loaded.about["updates"] == 3
    one = loaded.act(observations[1, 0, :2].numpy())
    many = loaded.act(observations[1, :, :2].numpy())
    assert one.shape == (1,) and many.shape == (6, 1) and one.dtype == np.float32
    np.testing.assert_allclose(one, many[0], atol=1e-6)
    np.testing.assert_array_equal(many, policies[1].act(observations[1, :, :2]))


def test_wrong_observations_are_named(model, store):
    (policy,) = export_policies(fleet(model, store, [("narrow", 0)]))
    with pytest.raises(PWMError, match="width 2"):
        policy.act(np.zeros(3))
    with pytest.raises(PWMError, match="not finite"):
        policy.act(np.array([0.0, np.nan]))


def test_acting_follows_weights_that_change(model, store):
    (policy,) = export_policies(fleet(model, store, [("narrow", 0)], replace(CONFIG, actor_output_gain=1.0)))
    x = np.ones((1, 2), np.float32)
    before = policy.act(x)
    policy.actor.net.biases[-1].add_(0.5)
    moved = policy.act(x)
    assert (moved - before).item() > 0.1
    policy.encoder.linears[0].weight.mul_(-1.0)
    assert not np.array_equal(policy.act(x), moved)
