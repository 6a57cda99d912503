"""Imagined rollouts of the actor in the frozen world model (paper Algorithm 1, inner loop)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pwm.agents.pwm.actor import FleetActor
from pwm.world_model.bound import BoundModel


class ImaginedRollout(NamedTuple):
    """A batch of imagined rollouts; gradients reach the actor through `actions`."""

    latents: Tensor
    """[H+1, members, batch, latent_dim]"""
    actions: Tensor
    """[H, members, batch, action_dim]"""
    rewards: Tensor
    """[H, members, batch]"""
    continues: Tensor | None
    """[H, members, batch], 0 where the model predicts the end of the episode; None without a termination head"""


def imagine(
    bound: BoundModel,
    actor: FleetActor,
    latent: Tensor,
    noise: Tensor,
    reward_space: str,
    detach_actor_input: bool = True,
    mask_actions: bool = True,
) -> ImaginedRollout:
    """Roll every member's actor forward from its own start latents.

    Args:
        bound: the world model for the members' tasks; freeze it, so that no gradients are computed for its parameters.
        actor: the fleet's actors.
        latent: start latents z_0 [members, batch, latent_dim].
        noise: standard normal [H, members, batch, action_dim].
        reward_space: "symlog" (pseudo-rewards, Appendix C) or "true".
        detach_actor_input: whether gradients stop at the actor's input.
        mask_actions: False feeds padded action entries to the model, as the published code does.
    """
    if not mask_actions:
        bound = bound.unmasked()
    latents, actions = [latent], []
    shared_actor, std, shared_dynamics = actor.net.share(), actor.std(), bound.share()
    for eps in noise:
        seen = latents[-1].detach() if detach_actor_input else latents[-1]
        actions.append(actor(seen, eps, shared_actor, std))
        latents.append(bound.step(latents[-1], actions[-1], shared_dynamics))
    z, a = torch.stack(latents), torch.stack(actions)
    return ImaginedRollout(z, a, bound.reward(z[:-1], a, reward_space), bound.continues(z[1:]))
