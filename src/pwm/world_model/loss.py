"""The world model's objective (paper Eq. 10): a pure function of (parameters, batch)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pwm.data.sampler import SliceBatch
from pwm.world_model.config import PretrainConfig
from pwm.world_model.model import WorldModel


def world_model_loss(model: WorldModel, batch: SliceBatch, config: PretrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Roll the latent out from the first observation and compare it with the encoded data and the real rewards.

    `sum_t rho^t [c_z mse(z_{t+1}, sg E(s_{t+1}, e)) + c_r CE(R(z_t, a_t, e), twohot(r_t))] / H`, mean over slices;
    with a termination head, `c_d BCE` of its logit at z_{t+1} is added.

    Returns:
        the scalar loss, and its parts (detached): `latent_loss`, `reward_loss`, optionally `termination_loss`.
    """
    horizon = batch.actions.shape[0]
    context = model.task_contexts().select(batch.tasks)
    with torch.no_grad():
        targets = model.encode(batch.observations[1:], context)
    latents = [model.encode(batch.observations[0], context)]
    for action in batch.actions:
        latents.append(model.step(latents[-1], action, context))
    rolled = torch.stack(latents)

    weights = config.rho ** torch.arange(horizon, device=rolled.device, dtype=rolled.dtype) / horizon
    latent_loss = weights @ F.mse_loss(rolled[1:], targets, reduction="none").mean(dim=(1, 2))
    logits = model.reward_logits(rolled[:-1], batch.actions, context)
    reward_loss = weights @ model.two_hot.cross_entropy(logits, batch.rewards).mean(dim=1)
    loss = config.latent_weight * latent_loss + config.reward_weight * reward_loss
    parts = {"latent_loss": latent_loss.detach(), "reward_loss": reward_loss.detach()}
    if model.termination is not None:
        ended = model.termination_logit(rolled[1:], context)
        bce = F.binary_cross_entropy_with_logits(ended, batch.terminations.to(ended.dtype), reduction="none")
        termination_loss = weights @ bce.mean(dim=1)
        loss = loss + config.termination_weight * termination_loss
        parts["termination_loss"] = termination_loss.detach()
    return loss, parts
