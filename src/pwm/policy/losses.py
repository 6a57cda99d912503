"""The actor's and the critics' objectives: pure functions of (parameters, batch), one number per member."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pwm.nn.two_hot import symlog
from pwm.policy.actor import FleetActor
from pwm.policy.config import PolicyConfig
from pwm.policy.critic import FleetCritic
from pwm.policy.imagination import Rollout, imagine
from pwm.policy.returns import discounted_return, lambda_returns
from pwm.world_model.model import TaskContext, WorldModel


class PolicyBatch(NamedTuple):
    """What one update of a fleet consumes."""

    observations: Tensor
    """Start states [members, batch, observation_dim], each member's from the data of its own task."""
    noise: Tensor
    """Standard normal [H, members, batch, action_dim] for the imagined actions."""
    actions: Tensor | None = None
    """The data's actions in the start states [members, batch, action_dim]; needed by the behaviour anchor only."""
    rewards: Tensor | None = None
    """Rewards that followed in the data [members, batch, n]; likewise."""
    later: Tensor | None = None
    """The data's observations n steps later [members, batch, observation_dim]; likewise."""
    ended: Tensor | None = None
    """Whether the episode terminated with reward i [members, batch, n] (bool); likewise."""


class ActorTerms(NamedTuple):
    """The pieces of the actor's objective, for the update that follows and for the log."""

    loss: Tensor
    """[members]; minimise the sum, members do not mix"""
    rollout: Rollout
    returns: Tensor
    """[members, batch] imagined returns, bootstrap included (detached)"""
    behaviour: Tensor
    """[members] weighted squared distance to the data's actions (detached; zero without the anchor)"""


def actor_loss(
    actor: FleetActor,
    critic: FleetCritic,
    model: WorldModel,
    context: TaskContext,
    batch: PolicyBatch,
    scale: Tensor,
    config: PolicyConfig,
) -> ActorTerms:
    """Minus the imagined return over its running scale (paper Eq. 6), plus the optional anchor to the data's actions.

    Args:
        context: task context with leading axes [members, 1].
        scale: [members], by which the return is divided.
    """
    with torch.no_grad():
        latent = model.encode(batch.observations, context)
    rollout = imagine(
        model, context, actor, latent, batch.noise, config.reward_space, config.detach_actor_input, config.mask_actions
    )
    last = critic.value(rollout.latents[-1])
    returns = discounted_return(rollout.rewards, last, config.gamma, rollout.continues, config.bootstrap_exponent)
    loss = -returns.mean(dim=-1) / scale
    behaviour = torch.zeros_like(loss)
    if config.behaviour_weight > 0.0:
        anchor = behaviour_loss(actor, critic, model, context, batch, latent, config)
        loss = loss + config.behaviour_weight * anchor
        behaviour = anchor.detach()
    return ActorTerms(loss, rollout, returns.detach(), behaviour)


def behaviour_loss(
    actor: FleetActor,
    critic: FleetCritic,
    model: WorldModel,
    context: TaskContext,
    batch: PolicyBatch,
    latent: Tensor,
    config: PolicyConfig,
) -> Tensor:
    """Squared distance [members] to the data's actions, weighted towards those that did better than expected.

    The advantage is the n real rewards that followed plus the bootstrap, minus the critic's value of the start state;
    the weights are a softmax of advantage / (temperature * its standard deviation) within the batch of a member, so
    that a critic that promises too much everywhere changes nothing.
    """
    assert batch.actions is not None and batch.rewards is not None and batch.later is not None
    with torch.no_grad():
        rewards = symlog(batch.rewards) if config.reward_space == "symlog" else batch.rewards
        continues = None if batch.ended is None else (~batch.ended).to(rewards.dtype).movedim(-1, 0)
        later = critic.value(model.encode(batch.later, context))
        real = discounted_return(rewards.movedim(-1, 0), later, config.gamma, continues)
        advantage = real - critic.value(latent)
        spread = advantage.std(dim=-1, keepdim=True).clamp(min=1e-6)
        weights = torch.softmax(advantage / (config.behaviour_temperature * spread), dim=-1)
    mask = context.action_mask
    distance = ((actor.mean(latent) - batch.actions) * mask).square().sum(dim=-1) / mask.sum(dim=-1)
    return (weights * distance).sum(dim=-1)


@torch.no_grad()
def critic_targets(critic: FleetCritic, rollout: Rollout, config: PolicyConfig) -> Tensor:
    """TD(lambda) targets [H, members, batch] of the rollout's first H states (paper Eqs. 7-8)."""
    horizon, members, batch = rollout.rewards.shape
    following = rollout.latents[1:].transpose(0, 1).reshape(members, horizon * batch, -1)
    values = critic.value(following).view(members, horizon, batch).transpose(0, 1)
    return lambda_returns(rollout.rewards.detach(), values, config.gamma, config.td_lambda, rollout.continues)


def critic_loss(critic: FleetCritic, latents: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error [members] of every critic of the ensemble on the same rows (paper Eq. 9), summed over critics.

    Args:
        latents: [members, rows, latent_dim].
        targets: [members, rows].
    """
    return (critic(latents) - targets.unsqueeze(1)).square().mean(dim=-1).sum(dim=-1)
