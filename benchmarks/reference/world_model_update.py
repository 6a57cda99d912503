"""One gradient step of the world model (paper Eq. 10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reference.networks import WorldModel
from pwm.data.sampler import SliceBatch
from pwm.world_model.config import PretrainConfig, WorldModelConfig


def two_hot(x: Tensor, config: WorldModelConfig) -> Tensor:
    """Dense target distribution [..., bins] of raw scalars x [...] in symlog space."""
    symlog = torch.sign(x) * torch.log(1 + torch.abs(x))
    width = (config.bin_high - config.bin_low) / (config.bins - 1)
    position = (torch.clamp(symlog, config.bin_low, config.bin_high) - config.bin_low) / width
    lower = torch.clamp(torch.floor(position).long(), max=config.bins - 2)
    above = (position - lower).unsqueeze(-1)
    low = F.one_hot(lower, config.bins).to(x.dtype)
    high = F.one_hot(lower + 1, config.bins).to(x.dtype)
    return (1 - above) * low + above * high


class WorldModelTrainer:
    """A world model and its optimiser.

    Args:
        model: the model to train.
        config: settings of pre-training; warm-up, decay and short horizons, which the paper does not have, are not
            known here.
    """

    def __init__(self, model: WorldModel, config: PretrainConfig) -> None:
        self.model, self.config = model, config
        rate = config.learning_rate
        others = [*model.embedding.parameters(), *model.dynamics.parameters(), *model.reward.parameters()]
        groups = [
            {"params": list(model.encoder.parameters()), "lr": rate * config.encoder_scale},
            {"params": others},
        ]
        self.optimiser = torch.optim.Adam(groups, lr=rate)

    def loss(self, batch: SliceBatch) -> Tensor:
        """Latent consistency and reward cross-entropy along a rollout from the first observation."""
        model, config, horizon = self.model, self.config, len(batch.actions)
        with torch.no_grad():
            targets = model.encode(batch.observations[1:], batch.tasks)
        z = model.encode(batch.observations[0], batch.tasks)
        latents, latent_loss = [], 0.0
        for t in range(horizon):
            latents.append(z)
            z = model.next(z, batch.actions[t], batch.tasks)
            latent_loss = latent_loss + config.rho**t * F.mse_loss(z, targets[t])
        logits = model.reward_logits(torch.stack(latents), batch.actions, batch.tasks)
        reward_loss = 0.0
        for t in range(horizon):
            target = two_hot(batch.rewards[t], model.config)
            cross_entropy = -(target * F.log_softmax(logits[t], dim=-1)).sum(dim=-1).mean()
            reward_loss = reward_loss + config.rho**t * cross_entropy
        return (config.latent_weight * latent_loss + config.reward_weight * reward_loss) / horizon

    def update(self, batch: SliceBatch) -> Tensor:
        """One step of Adam on a batch of slices; returns the loss."""
        loss = self.loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm)
        self.optimiser.step()
        return loss.detach()
