"""The protocol of a locomotion task: start, observation, reward and termination as functions of tensors."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


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
