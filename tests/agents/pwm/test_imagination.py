"""Imagined rollouts step by step; predicted terminations cut returns and bootstraps."""

from dataclasses import replace

import pytest
import torch

from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.agents.pwm.imagination import imagine
from pwm.agents.pwm.losses import PolicyBatch, actor_loss, critic_targets
from pwm.learning.returns import discounted_return, lambda_returns
from pwm.nn.two_hot import symexp
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel

CONFIG = PolicyConfig(actor_units=(8,), critic_units=(8,), actor_output_gain=1.0, gamma=0.9, td_lambda=0.7)
HORIZON, BATCH = 6, 40


def scene(episodic):
    """A random model of two tasks, one actor each, and a start; an episodic model ends about a fifth of its steps."""
    torch.manual_seed(3)
    model = WorldModel(world_model_size("tiny", episodic=episodic), ["a", "b"], [4, 2], [3, 1])
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[1] ** 0.5)
    model.freeze()
    bound = model.bind(["a", "b"])
    actor = FleetActor(32, 3, CONFIG, [1, 2])
    batch = PolicyBatch(torch.randn(2, BATCH, 4), torch.randn(HORIZON, 2, BATCH, 3))
    if episodic:
        z = imagine(bound, actor, bound.encode(batch.observations), batch.noise, "symlog").latents[1:]
        model.termination.linears[-1].bias.data -= bound.termination_logit(z).quantile(0.8)
        bound.refresh()
    return bound, actor, batch


@pytest.mark.parametrize("masked", [True, False])
def test_rollout_step_by_step(masked):
    bound, actor, batch = scene(episodic=True)
    start = bound.encode(batch.observations)
    rollout = imagine(bound, actor, start, batch.noise, "symlog", mask_actions=masked)
    z = start
    free = bound.unmasked()
    for h, eps in enumerate(batch.noise):
        assert torch.equal(rollout.latents[h], z)
        action = actor(z, eps)
        if masked:
            action = action * torch.tensor([[[1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]]])
        reward = free.reward(z, action, "symlog")
        torch.testing.assert_close(rollout.rewards[h], reward, rtol=1e-4, atol=1e-5)
        z = free.step(z, action)
        ended = torch.sigmoid(bound.termination_logit(z)) > 0.5
        assert torch.equal(rollout.continues[h], 1.0 - ended.float())
    torch.testing.assert_close(rollout.latents[HORIZON], z)
    assert 0.05 < 1.0 - float(rollout.continues.mean()) < 0.6


def test_a_model_without_a_termination_head_never_ends():
    bound, actor, batch = scene(episodic=False)
    assert imagine(bound, actor, bound.encode(batch.observations), batch.noise, "symlog")[3] is None


def test_reward_spaces_differ_by_symexp():
    bound, actor, batch = scene(episodic=False)
    start = bound.encode(batch.observations)
    symlog, true = (imagine(bound, actor, start, batch.noise, s).rewards for s in ("symlog", "true"))
    torch.testing.assert_close(true, symexp(symlog))
    assert (symlog - true).abs().max() > 0.1


def test_gradient_stops_at_the_actors_input_only_when_asked():
    bound, actor, batch = scene(episodic=False)
    start = bound.encode(batch.observations).requires_grad_(True)
    seen = []
    actor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].requires_grad))
    for detach in (True, False):
        imagine(bound, actor, start, batch.noise, "symlog", detach_actor_input=detach)
    assert seen == [False] * HORIZON + [True] * HORIZON


def test_predicted_terminations_cut_returns_and_targets():
    bound, actor, batch = scene(episodic=True)
    critic = FleetCritic(32, CONFIG, [3, 4])
    for bias in critic.net.biases[-1]:
        bias.data.fill_(5.0)
    terms = actor_loss(actor, critic, bound, batch, torch.ones(2), CONFIG)
    rollout = terms.rollout
    last = critic.value(rollout.latents[-1])
    torch.testing.assert_close(terms.returns, discounted_return(rollout.rewards, last, 0.9, rollout.continues))
    ended_at_once = rollout.continues[0] == 0
    assert ended_at_once.any()
    torch.testing.assert_close(terms.returns[ended_at_once], rollout.rewards[0][ended_at_once])
    values = torch.stack([critic.value(z) for z in rollout.latents[1:]])
    targets = critic_targets(critic, rollout, CONFIG)
    torch.testing.assert_close(targets, lambda_returns(rollout.rewards, values, 0.9, 0.7, rollout.continues))
    torch.testing.assert_close(targets[rollout.continues == 0], rollout.rewards[rollout.continues == 0])


def test_settings_reach_the_returns():
    bound, actor, batch = scene(episodic=False)
    critic = FleetCritic(32, CONFIG, [3, 4])
    for bias in critic.net.biases[-1]:
        bias.data.fill_(5.0)

    def returns(**changes):
        return actor_loss(actor, critic, bound, batch, torch.ones(2), replace(CONFIG, **changes)).returns

    rollout = imagine(bound, actor, bound.encode(batch.observations), batch.noise, "symlog")
    last = critic.value(rollout.latents[-1])
    torch.testing.assert_close(returns() - returns(bootstrap_exponent=1), 0.9**HORIZON * (1 - 0.9) * last)
    true = imagine(bound, actor, rollout.latents[0], batch.noise, "true")
    torch.testing.assert_close(returns(reward_space="true"), discounted_return(true.rewards, last, 0.9))
    one_step = critic_targets(critic, rollout, replace(CONFIG, td_lambda=0.0))
    following = torch.stack([critic.value(z) for z in rollout.latents[1:]])
    torch.testing.assert_close(one_step, rollout.rewards + 0.9 * following)
