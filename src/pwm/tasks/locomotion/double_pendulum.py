"""The double pendulum of the paper's Appendix B: swing up and balance, with a motor in joint 2. n = 6, m = 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DoublePendulum:
    """Observation: cosine and sine of both joint angles (rad, zero is upright), and their velocities (rad/s)."""

    name: str = "double-pendulum"
    observation_dim: int = 6
    action_dim: int = 1
    episode_length: int = 240
    draws: int = 4

    def start(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Hanging down, nearly at rest."""
        noise = uniform - 0.5
        hanging = noise.new_tensor([math.pi, 0.0])
        return hanging + 0.4 * noise[:, :2], 0.2 * noise[:, 2:]

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        cosine, sine = torch.cos(q), torch.sin(q)
        return torch.cat([cosine[:, :1], sine[:, :1], cosine[:, 1:], sine[:, 1:], qd], dim=1)

    def reward(self, observation: Tensor, action: Tensor) -> Tensor:
        """-theta_1^2 - theta_2^2 - 0.1 theta_2'^2, angles in (-pi, pi]."""
        first = torch.atan2(observation[:, 1], observation[:, 0])
        second = torch.atan2(observation[:, 3], observation[:, 2])
        return -first.square() - second.square() - 0.1 * observation[:, 5].square()

    def terminated(self, observation: Tensor) -> Tensor:
        return torch.zeros_like(observation[:, 0], dtype=torch.bool)
