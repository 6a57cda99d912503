"""A fleet of critic ensembles: `critics` value functions per member, evaluated as one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pwm.agents.pwm.config import PolicyConfig
from pwm.nn.perceptron import FleetMLP


class FleetCritic(nn.Module):
    """V_1(z) ... V_K(z) for every member.

    Args:
        latent_dim: width of the input.
        config: layer widths and ensemble size K.
        keys: one integer per member that seeds its initialisation.
    """

    def __init__(self, latent_dim: int, config: PolicyConfig, keys: Sequence[int]) -> None:
        super().__init__()
        self.members, self.critics = len(keys), config.critics
        self.net = FleetMLP(self.members * self.critics, latent_dim, config.critic_units, 1)
        for member, key in enumerate(keys):
            generator = torch.Generator().manual_seed(key)
            for critic in range(self.critics):
                row = member * self.critics + critic
                self.net.init_orthogonal(row, math.sqrt(2.0), config.critic_output_gain, generator)

    def forward(self, latent: Tensor) -> Tensor:
        """Latents [members, rows, latent_dim] to the value of every critic [members, critics, rows]."""
        return self.net(latent).view(self.members, self.critics, latent.shape[1])

    def value(self, latent: Tensor) -> Tensor:
        """The ensemble's minimum [members, rows]."""
        return self.forward(latent).min(dim=1).values
