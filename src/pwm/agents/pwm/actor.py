"""A fleet of actors: one Gaussian policy per member, evaluated as one batch (paper Section 4.3, Appendix C)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pwm.agents.pwm.config import PolicyConfig
from pwm.nn.perceptron import FleetMLP, SharedWeights


class FleetActor(nn.Module):
    """pi(z) = tanh(mu(z) + sigma * eps) for every member; sigma does not depend on z and is bounded below.

    Args:
        latent_dim, action_dim: widths of the input and (padded) output.
        config: layer widths, initial and minimal noise.
        keys: one integer per member that seeds its initialisation.
    """

    def __init__(self, latent_dim: int, action_dim: int, config: PolicyConfig, keys: Sequence[int]) -> None:
        super().__init__()
        self.min_log_std = math.log(config.min_std)
        self.net = FleetMLP(len(keys), latent_dim, config.actor_units, action_dim)
        self.log_std = nn.Parameter(torch.full((len(keys), 1, action_dim), config.initial_log_std))
        for member, key in enumerate(keys):
            generator = torch.Generator().manual_seed(key)
            self.net.init_orthogonal(member, math.sqrt(2.0), config.actor_output_gain, generator)

    def std(self) -> Tensor:
        """Standard deviation of the noise [members, 1, action_dim], at least the configured minimum."""
        return self.log_std.clamp(min=self.min_log_std).exp()

    def mean(self, latent: Tensor, shared: SharedWeights | None = None) -> Tensor:
        """The deterministic action [members, rows, action_dim] for latents [members, rows, latent_dim]."""
        return torch.tanh(self.net(latent, shared))

    def forward(
        self, latent: Tensor, noise: Tensor, shared: SharedWeights | None = None, std: Tensor | None = None
    ) -> Tensor:
        """The action for standard normal `noise` [members, rows, action_dim].

        Args:
            shared: `net.share()`, made once for all steps of a rollout.
            std: `self.std()`, likewise.
        """
        return torch.tanh(torch.addcmul(self.net(latent, shared), self.std() if std is None else std, noise))
