"""Imagined rollouts: the actor acts inside the frozen world model (paper Algorithm 1, inner loop)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pwm.agents.pwm.actor import FleetActor
from pwm.world_model.model import TaskContext, WorldModel


class ImaginedRollout(NamedTuple):
    """A batch of imagined rollouts; gradients reach the actor through `actions`."""

    latents: Tensor
    """[H+1, members, batch, latent_dim]"""
    actions: Tensor
    """[H, members, batch, action_dim]"""
    rewards: Tensor
    """[H, members, batch]"""
    continues: Tensor | None
    """[H, members, batch], 0 where the model says that the episode ended; None for models that never end one"""


def imagine(
    model: WorldModel,
    context: TaskContext,
    actor: FleetActor,
    latent: Tensor,
    noise: Tensor,
    reward_space: str,
    detach_actor_input: bool = True,
    mask_actions: bool = True,
) -> ImaginedRollout:
    """Roll every member's actor forward from its own start latents.

    Args:
        model: the world model; freeze it first, so that no gradient is computed for its parameters.
        context: task context with leading axes [members, 1].
        actor: the fleet's actors.
        latent: start latents z_0 [members, batch, latent_dim].
        noise: standard normal [H, members, batch, action_dim].
        reward_space: "symlog" (pseudo-rewards, Appendix C) or "true".
        detach_actor_input: whether gradients stop at the actor's input.
        mask_actions: False feeds padded action entries to the model, as the published code does.
    """
    if not mask_actions:
        context = context._replace(action_mask=torch.ones_like(context.action_mask))
    latents, actions = [latent], []
    shared_actor, std, shared_dynamics = actor.net.share(), actor.std(), model.dynamics.share()
    for eps in noise:
        seen = latents[-1].detach() if detach_actor_input else latents[-1]
        actions.append(actor(seen, eps, shared_actor, std))
        latents.append(model.step(latents[-1], actions[-1], context, shared_dynamics))
    z, a = torch.stack(latents), torch.stack(actions)
    rewards = model.two_hot.decode(model.reward_logits(z[:-1], a, context), reward_space)
    continues = None
    if model.termination is not None:
        with torch.no_grad():
            continues = (model.termination_logit(z[1:], context) <= 0.0).to(rewards.dtype)
    return ImaginedRollout(z, a, rewards, continues)
