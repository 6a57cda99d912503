"""Robots with a floating torso that run towards +x: Ant, ANYmal, Humanoid and muscles on legs (paper, Appendix D)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pwm.tasks.locomotion.task import height_term

_TORSO_Q, _TORSO_QD = 7, 6
_TURN = math.pi / 12  # rad, width of the random turn of a start
ANGLE_SPREAD = 0.4
"""rad, width of the random shift of each joint at a start."""


@dataclass(frozen=True)
class Runner:
    """A robot of j joints; n = 13 + 3 j with motors, 13 + 2 j with muscles.

    Observation: torso height (m), its rotation (quaternion x, y, z, w), velocity of its centre of mass (m/s) and
    angular velocity (rad/s) in world axes, joint angles (rad), 0.1 x joint velocities, z of the torso's up axis, x of
    its forward axis, and with motors the last action.

    start_height  m; start_angles  rad, one per joint
    lowest        m; an episode ends when the torso is lower
    tall          reward for the height, [n] -> [n]
    effort_cost   weight of the action's squared norm
    muscles       number of muscle units; 0 if each joint has a motor
    start_spread  m, width of the random shift of a start
    """

    name: str
    start_height: float
    start_angles: tuple[float, ...]
    lowest: float
    tall: Callable[[Tensor], Tensor]
    effort_cost: float
    muscles: int = 0
    start_spread: float = 0.2
    episode_length: int = 1000

    @property
    def joints(self) -> int:
        return len(self.start_angles)

    @property
    def action_dim(self) -> int:
        return self.muscles or self.joints

    @property
    def observation_dim(self) -> int:
        return 13 + (2 if self.muscles else 3) * self.joints

    @property
    def draws(self) -> int:
        return 3 + 1 + 3 + self.joints + _TORSO_QD + self.joints

    def start(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        centred = uniform - 0.5
        place, turn, axis, angles, speeds = centred.split([3, 1, 3, self.joints, _TORSO_QD + self.joints], 1)
        half = 0.5 * _TURN * turn
        height = centred.new_tensor([0.0, 0.0, self.start_height])
        rotation = torch.cat([functional.normalize(axis, dim=1) * torch.sin(half), torch.cos(half)], dim=1)
        joints = centred.new_tensor(self.start_angles) + ANGLE_SPREAD * angles
        return torch.cat([height + self.start_spread * place, rotation, joints], dim=1), 0.5 * speeds

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        x, y, z, w = q[:, 3:_TORSO_Q].unbind(dim=1)
        up = 1.0 - 2.0 * (x * x + y * y)
        heading = 1.0 - 2.0 * (y * y + z * z)
        axes = torch.stack([up, heading], dim=1)
        torso, joints = (q[:, 2:_TORSO_Q], qd[:, :_TORSO_QD]), (q[:, _TORSO_Q:], 0.1 * qd[:, _TORSO_QD:])
        last = [] if self.muscles else [action]
        return torch.cat([*torso, *joints, axes, *last], dim=1)

    def reward(self, observation: Tensor, action: Tensor) -> Tensor:
        up, heading = observation[:, 11 + 2 * self.joints], observation[:, 12 + 2 * self.joints]
        running = observation[:, 5] + 0.1 * up + heading + self.tall(observation[:, 0])
        return running - self.effort_cost * action.square().sum(dim=1) if self.effort_cost else running

    def terminated(self, observation: Tensor) -> Tensor:
        return observation[:, 0] < self.lowest


def _above(lowest: float) -> Callable[[Tensor], Tensor]:
    return lambda height: height - lowest


def _tall(mark: float, highest: float, scale: float) -> Callable[[Tensor], Tensor]:
    return lambda height: height_term(height - mark, highest, scale)


# Hip abduction, hip and knee of the left front, right front, left hind and right hind leg.
_STANDING = (-0.1, 0.7, -1.0, 0.1, 0.7, -1.0, -0.1, -0.7, 1.0, 0.1, -0.7, 1.0)
# Slightly bent legs, feet flat; for each leg: hip flexion, abduction and rotation, knee, ankle dorsiflexion, inversion
# and rotation, great toe, small toes.
_BENT = 2 * (0.1, 0.0, 0.0, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0)

ANT = Runner("ant", 0.75, (0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0), 0.27, _above(0.27), effort_cost=0.0)
ANYMAL = Runner("anymal", 0.6, _STANDING, 0.25, _above(0.25), effort_cost=0.005)
HUMANOID = Runner("humanoid", 1.35, (0.0,) * 21, 0.74, _tall(0.84, 0.1, 10.0), effort_cost=0.002)
MUSCLE_HUMANOID = Runner(
    "muscle-humanoid", 0.95, _BENT, 0.46, _tall(0.51, 0.05, 4.0), effort_cost=0.001, muscles=152, start_spread=0.04
)
