"""Objectives of actor and critics: pure functions of (parameters, batch), with one number per member."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.agents.pwm.imagination import ImaginedRollout, imagine
from pwm.learning.returns import discounted_return, lambda_returns
from pwm.world_model.bound import BoundModel


class PolicyBatch(NamedTuple):
    """The inputs of one update of a fleet."""

    observations: Tensor
    """Start states [members, batch, observation_dim], from the data of each member's task."""
    noise: Tensor
    """Standard normal [H, members, batch, action_dim] for the imagined actions."""
    good_observations: Tensor | None = None
    """States from good episodes [members, rows, observation_dim]; only for the behaviour anchor."""
    good_actions: Tensor | None = None
    """The actions taken in them [members, rows, action_dim]; likewise."""


class ActorTerms(NamedTuple):
    """The actor's loss and its parts, for the critics and for logging."""

    loss: Tensor
    """[members]; minimise the sum, since members are independent"""
    rollout: ImaginedRollout
    returns: Tensor
    """[members, batch] imagined returns including the bootstrap (detached)"""
    behaviour: Tensor
    """[members] squared distance to the actions of good episodes (detached; zero without the anchor)"""


def actor_loss(
    actor: FleetActor,
    critic: FleetCritic,
    bound: BoundModel,
    batch: PolicyBatch,
    scale: Tensor,
    config: PolicyConfig,
) -> ActorTerms:
    """The negative imagined return divided by its running scale (paper Eq. 6), plus the optional behaviour anchor.

    Args:
        bound: the world model for the members' tasks.
        scale: [members], divisor of the returns.
    """
    with torch.no_grad():
        latent = bound.encode(batch.observations)
    rollout = imagine(
        bound, actor, latent, batch.noise, config.reward_space, config.detach_actor_input, config.mask_actions
    )
    last = critic.value(rollout.latents[-1])
    returns = discounted_return(rollout.rewards, last, config.gamma, rollout.continues, config.bootstrap_exponent)
    loss = -returns.mean(dim=-1) / scale
    behaviour = torch.zeros_like(loss)
    if config.behaviour_weight > 0.0:
        assert batch.good_observations is not None and batch.good_actions is not None
        anchor = behaviour_loss(actor, bound, batch.good_observations, batch.good_actions)
        loss = loss + config.behaviour_weight * anchor
        behaviour = anchor.detach()
    return ActorTerms(loss, rollout, returns.detach(), behaviour)


def behaviour_loss(actor: FleetActor, bound: BoundModel, observations: Tensor, actions: Tensor) -> Tensor:
    """Mean squared distance [members] between the actor's mean and the actions of good episodes in the same states.

    Averaged over a task's own action entries, so that its weight is comparable across tasks.

    Args:
        observations: [members, rows, observation_dim].
        actions: [members, rows, action_dim].
    """
    with torch.no_grad():
        latent = bound.encode(observations)
    mask = bound.action_mask
    distance = ((actor.mean(latent) - actions) * mask).square().sum(dim=-1) / mask.sum(dim=-1)
    return distance.mean(dim=-1)


@torch.no_grad()
def critic_targets(critic: FleetCritic, rollout: ImaginedRollout, config: PolicyConfig) -> Tensor:
    """TD(lambda) targets [H, members, batch] of the rollout's first H states (paper Eqs. 7-8)."""
    horizon, members, batch = rollout.rewards.shape
    following = rollout.latents[1:].transpose(0, 1).reshape(members, horizon * batch, -1)
    values = critic.value(following).view(members, horizon, batch).transpose(0, 1)
    return lambda_returns(rollout.rewards.detach(), values, config.gamma, config.td_lambda, rollout.continues)


def alive(continues: Tensor) -> Tensor:
    """[H, ...]: 1 for the states of a rollout up to and including its termination, 0 for those after it.

    Args:
        continues: [H, ...], 0 where the episode terminated with the reward of the same index.
    """
    return torch.cat((torch.ones_like(continues[:1]), continues[:-1].cumprod(dim=0)))


def critic_gradients(
    critic: FleetCritic, latents: Tensor, targets: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Mean squared error (paper Eq. 9) summed over the critics of each member [members], and the gradients of its sum
    over members with respect to the critics' parameters.

    Args:
        latents: [members, rows, latent_dim].
        targets: [members, rows].
        weights: [members, rows], 0 for rows that do not count; None counts all.
    """
    errors, grads = critic.net.squared_errors(latents, targets, weights)
    return errors.view(critic.members, critic.critics).sum(dim=1), grads
