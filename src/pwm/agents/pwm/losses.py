"""The actor's and the critics' objectives: pure functions of (parameters, batch), one number per member."""

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
    """What one update of a fleet consumes."""

    observations: Tensor
    """Start states [members, batch, observation_dim], each member's from the data of its own task."""
    noise: Tensor
    """Standard normal [H, members, batch, action_dim] for the imagined actions."""
    good_observations: Tensor | None = None
    """States of the data's best episodes [members, rows, observation_dim]; needed by the behaviour anchor only."""
    good_actions: Tensor | None = None
    """The actions taken in them [members, rows, action_dim]; likewise."""


class ActorTerms(NamedTuple):
    """The pieces of the actor's objective, for the update that follows and for the log."""

    loss: Tensor
    """[members]; minimise the sum, members do not mix"""
    rollout: ImaginedRollout
    returns: Tensor
    """[members, batch] imagined returns, bootstrap included (detached)"""
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
    """Minus the imagined return over its running scale (paper Eq. 6), plus the optional anchor to good data.

    Args:
        bound: the world model for the members' tasks.
        scale: [members], by which the return is divided.
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

    Averaged over a task's own action entries, so that its weight means the same for every task.

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
    """1 for the states of a rollout that come before its termination or are it, 0 for those after: [H, ...].

    Args:
        continues: [H, ...], 0 where the episode terminated with the reward of the same index.
    """
    return torch.cat((torch.ones_like(continues[:1]), continues[:-1].cumprod(dim=0)))


def critic_gradients(
    critic: FleetCritic, latents: Tensor, targets: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Mean squared error [members] of every critic of the ensemble on the same rows (paper Eq. 9), summed over critics,
    and the gradient of its sum over members for each of the critics' parameters.

    Args:
        latents: [members, rows, latent_dim].
        targets: [members, rows].
        weights: [members, rows], 0 for rows that do not count; None counts all.
    """
    errors, grads = critic.net.squared_errors(latents, targets, weights)
    return errors.view(critic.members, critic.critics).sum(dim=1), grads
