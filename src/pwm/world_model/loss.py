"""The world model's objective (paper Eq. 10): a pure function of (parameters, batch)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pwm.data.sampler import SliceBatch
from pwm.world_model.bound import BoundModel
from pwm.world_model.config import PretrainConfig
from pwm.world_model.model import WorldModel


def world_model_loss(model: WorldModel, batch: SliceBatch, config: PretrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Roll the latent out from the first observation, and compare it with encoded observations and real rewards.

    `sum_t rho^t [c_z mse(z_{t+1}, sg E(s_{t+1}, e)) + c_r CE(R(z_t, a_t, e), twohot(r_t))] / H`, mean over slices;
    with a termination head, `c_d BCE` of its logit at z_{t+1} is added.

    With `config.recompute_steps`, only the first latent of every block of so many steps is kept, and the backward pass
    recomputes the rest (gradient checkpointing, Chen et al. 2016).

    Returns:
        the scalar loss, and its parts (detached): `latent_loss`, `reward_loss`, optionally `termination_loss`.
    """
    horizon = batch.actions.shape[0]
    bound = model.bind(batch.tasks)
    with torch.no_grad():
        targets = bound.encode(batch.observations[1:])
    latent = bound.encode(batch.observations[0])
    recompute = config.recompute_steps > 0 and torch.is_grad_enabled()
    steps = config.recompute_steps if recompute else horizon
    blocks = []
    for now in (slice(t, t + steps) for t in range(0, horizon, steps)):
        given = (bound, latent, batch.actions[now], targets[now], batch.rewards[now], batch.terminations[now])
        if recompute:
            latent, errors = checkpoint(_block, *given, use_reentrant=False, preserve_rng_state=False)
        else:
            latent, errors = _block(*given)
        blocks.append(errors)

    weights = config.rho ** torch.arange(horizon, device=latent.device, dtype=latent.dtype) / horizon
    latent_loss, reward_loss = (weights @ torch.cat(part) for part in list(zip(*blocks, strict=True))[:2])
    loss = config.latent_weight * latent_loss + config.reward_weight * reward_loss
    parts = {"latent_loss": latent_loss.detach(), "reward_loss": reward_loss.detach()}
    if bound.terminates:
        termination_loss = weights @ torch.cat([errors.termination for errors in blocks])
        loss = loss + config.termination_weight * termination_loss
        parts["termination_loss"] = termination_loss.detach()
    return loss, parts


class _Errors(NamedTuple):
    """Errors averaged over the slices, one number per step of a block."""

    latent: Tensor
    reward: Tensor
    termination: Tensor | None


def _block(
    bound: BoundModel,
    latent: Tensor,
    actions: Tensor,
    targets: Tensor,
    rewards: Tensor,
    terminations: Tensor,
) -> tuple[Tensor, _Errors]:
    """Some steps of the rollout; returns the last latent and the errors."""
    latents = bound.rollout(latent, actions)
    rolled = torch.stack(latents)
    latent_error = F.mse_loss(rolled[1:], targets, reduction="none").mean(dim=(1, 2))
    logits = bound.reward_logits(rolled[:-1], actions)
    reward_error = bound.model.two_hot.cross_entropy(logits, rewards).mean(dim=1)
    termination_error = None
    if bound.terminates:
        ended = bound.termination_logit(rolled[1:])
        bce = F.binary_cross_entropy_with_logits(ended, terminations.to(ended.dtype), reduction="none")
        termination_error = bce.mean(dim=1)
    return latents[-1], _Errors(latent_error, reward_error, termination_error)
