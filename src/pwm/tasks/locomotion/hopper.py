"""Hopper: one leg in a plane (paper, Appendix D). n = 11, m = 3."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pwm.tasks.locomotion.task import height_term

_LOWEST = -0.45  # m, of the torso, from where it starts
_TOLERANCE = 0.15  # m
_ANGLE = math.pi / 6  # rad


@dataclass(frozen=True)
class Hopper:
    """Observation: height (m, from the start), pitch, three joint angles (rad); velocities of x and of these."""

    name: str = "hopper"
    observation_dim: int = 11
    action_dim: int = 3
    episode_length: int = 1000
    draws: int = 12

    def start(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.1 * (uniform - 0.5)
        return noise[:, :6], noise[:, 6:]

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        return torch.cat([q[:, 1:], qd], dim=1)

    def reward(self, observation: Tensor, action: Tensor) -> Tensor:
        height, angle, speed = observation[:, 0], observation[:, 1], observation[:, 5]
        upright = 1.0 - (angle / _ANGLE).square()
        tall = height_term(height - (_LOWEST + _TOLERANCE), 0.3, 1.0)
        return speed + tall + upright - 0.1 * action.square().sum(dim=1)

    def terminated(self, observation: Tensor) -> Tensor:
        return observation[:, 0] < _LOWEST
