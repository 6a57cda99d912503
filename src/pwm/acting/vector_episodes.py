"""Plays one episode per row of a vector environment."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pwm.tasks.vector import VectorEnvironment


@torch.no_grad()
def play_episodes(policy: Callable[[Tensor], Tensor], environment: VectorEnvironment) -> tuple[Tensor, Tensor]:
    """Undiscounted returns (float64) and lengths [n] of the first episode of each of n environments.

    The environments are reset first. Rows that have finished continue, but do not count.
    """
    observation = environment.reset()
    returns = torch.zeros(environment.num_envs, dtype=torch.float64, device=observation.device)
    lengths, running = torch.zeros_like(returns), torch.ones_like(returns, dtype=torch.bool)
    for _ in range(environment.episode_length):
        step = environment.step(policy(observation))
        returns += torch.where(running, step.reward.double(), 0.0)
        lengths += running
        running = running & ~(step.terminated | step.truncated)
        observation = step.obs
    return returns, lengths
