"""A locomotion task: start, observation, reward and termination as functions of tensors; the two planar ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_HOPPER_LOWEST = -0.45  # m, of the torso, from where it starts
_HOPPER_TOLERANCE = 0.15  # m
_HOPPER_ANGLE = math.pi / 6  # rad


class Task(Protocol):
    """Pure functions of batches; rows are robots. `action` is in [-1, 1].

    name             the task's id, also of its model file
    observation_dim  o
    action_dim       m
    episode_length   environment steps
    draws            number of random numbers for a start
    """

    name: str
    observation_dim: int
    action_dim: int
    episode_length: int
    draws: int

    def start(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """(q, qd) from uniform numbers in (0, 1) [n, draws]; 0.5 gives the pose that starts are scattered around."""

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """[n, o]; `action` [n, m] is the previous one, zero at a start."""

    def reward(self, observation: Tensor, action: Tensor) -> Tensor:
        """[n], from the observation after the step and the action of the step."""

    def terminated(self, observation: Tensor) -> Tensor:
        """bool [n]: the robot has fallen."""


def height_term(above: Tensor, highest: float, scale: float) -> Tensor:
    """The paper's R_height for the height above a mark [n], m: `scale` x height, and -200 height^2 below the mark.

    The height is first clipped to [-1, highest].
    """
    above = above.clamp(-1.0, highest)
    return (above * scale).where(above > 0, -200.0 * above * above)


@dataclass(frozen=True)
class Hopper:
    """One leg in a plane (paper, Appendix D).

    Observation: height (m, from the start), pitch, three joint angles (rad); velocities of x and of these.
    """

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
        upright = 1.0 - (angle / _HOPPER_ANGLE).square()
        tall = height_term(height - (_HOPPER_LOWEST + _HOPPER_TOLERANCE), 0.3, 1.0)
        return speed + tall + upright - 0.1 * action.square().sum(dim=1)

    def terminated(self, observation: Tensor) -> Tensor:
        return observation[:, 0] < _HOPPER_LOWEST


@dataclass(frozen=True)
class DoublePendulum:
    """Swing up and balance, with a motor in joint 2 (paper, Appendix B).

    Observation: cosine and sine of both joint angles (rad, zero is upright), and their velocities (rad/s).
    """

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
