"""The world model's objective (paper Eq. 10): a pure function of (parameters, batch)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pwm.data.sampler import SliceBatch
from pwm.world_model.bound import BoundModel
from pwm.world_model.config import PretrainConfig
from pwm.world_model.model import WorldModel

_PARTS = ("latent_loss", "reward_loss", "termination_loss")


def world_model_loss(model: WorldModel, batch: SliceBatch, config: PretrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Roll the latent out from the first observation, and compare it with encoded observations and real rewards.

    `sum_t rho^t [c_z mse(z_{t+1}, sg E(s_{t+1}, e)) + c_r CE(R(z_t, a_t, e), twohot(r_t))] / H`, mean over slices;
    with a termination head, `c_d BCE` of its logit at z_{t+1} is added. Rewards r_t are divided by the model's
    `reward_scale`.

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
    run = partial(checkpoint, _block, use_reentrant=False, preserve_rng_state=False) if recompute else _block
    blocks = []
    for now in (slice(t, t + steps) for t in range(0, horizon, steps)):
        data = batch.actions[now], targets[now], batch.rewards[now], batch.terminations[now]
        latent, errors = run(bound, latent, *data)
        blocks.append(errors)

    weights = config.rho ** torch.arange(horizon, device=latent.device, dtype=latent.dtype) / horizon
    # A model without a termination head has only the first two errors.
    parts = {name: weights @ torch.cat(errors) for name, errors in zip(_PARTS, zip(*blocks, strict=True))}
    loss = config.latent_weight * parts["latent_loss"] + config.reward_weight * parts["reward_loss"]
    if bound.terminates:
        loss = loss + config.termination_weight * parts["termination_loss"]
    return loss, {name: part.detach() for name, part in parts.items()}


def _block(bound: BoundModel, latent: Tensor, *data: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Some steps of the rollout; returns the last latent and, per part, its mean over the slices at each step."""
    actions, targets, rewards, terminations = data
    latents = bound.rollout(latent, actions)
    rolled = torch.stack(latents)
    errors = [F.mse_loss(rolled[1:], targets, reduction="none").mean(dim=(1, 2))]
    logits = bound.reward_logits(rolled[:-1], actions)
    errors.append(bound.model.two_hot.cross_entropy(logits, rewards / bound.reward_scale).mean(dim=1))
    if bound.terminates:
        ended = bound.termination_logit(rolled[1:])
        bce = F.binary_cross_entropy_with_logits(ended, terminations.to(ended.dtype), reduction="none")
        errors.append(bce.mean(dim=1))
    return latents[-1], errors
