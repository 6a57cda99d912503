"""Differentiable rollouts in the environment, and SHAC's objective and value targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pwm.learning.returns import lambda_returns
from pwm.tasks.vector import DifferentiableEnvironment


class SimulatedRollout(NamedTuple):
    """H steps of n environments."""

    observations: Tensor
    """[H, n, o], before each action; detached."""
    actions: Tensor
    """[H, n, a]; detached."""
    rewards: Tensor
    """[H, n]; differentiable."""
    final_observations: Tensor
    """[H, n, o], after each action and before any reset; differentiable."""
    terminated: Tensor
    """bool [H, n]."""
    truncated: Tensor
    """bool [H, n]."""


def roll_out(
    environment: DifferentiableEnvironment, act: Callable[[Tensor, Tensor], Tensor], noise: Tensor
) -> SimulatedRollout:
    """Step the environments from their current state, with a graph that starts at the first step.

    Args:
        environment: advanced by H steps.
        act: actions [n, a] for observations [n, o] and noise [n, a].
        noise: standard normal numbers [H, n, a].
    """
    observation, steps = environment.detach(), []
    for eps in noise:
        action = act(observation, eps)
        step = environment.step(action)
        seen = (observation.detach(), action.detach())
        steps.append((*seen, step.reward, step.final_obs, step.terminated, step.truncated & ~step.terminated))
        observation = step.obs
    return SimulatedRollout(*(torch.stack(rows) for rows in zip(*steps, strict=True)))


def shac_objective(rewards: Tensor, values: Tensor, terminated: Tensor, truncated: Tensor, gamma: float) -> Tensor:
    """What the actor maximises, per environment step (SHAC Eq. 5): the discounted rewards of every episode segment in
    the rollout and, unless the segment terminates, the discounted value of its final state.

    The discount restarts with every episode.

    Args:
        rewards: [H, n].
        values: [H, n], the value of the state after the reward of the same index, before any reset.
        terminated, truncated: bool [H, n], never both.
        gamma: discount per step.

    Returns:
        One number: the sum over segments and environments, divided by H n.
    """
    total, following = torch.zeros_like(rewards[0]), values[-1]
    for h in range(rewards.shape[0] - 1, -1, -1):
        if h < rewards.shape[0] - 1:
            total = total + torch.where(terminated[h] | truncated[h], following, 0.0)
        following = torch.where(truncated[h], values[h], following)
        following = rewards[h] + gamma * torch.where(terminated[h], 0.0, following)
    return (total + following).sum() / rewards.numel()


def value_targets(
    rewards: Tensor, values: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, td_lambda: float
) -> Tensor:
    """TD(lambda) targets [H, n] of the states before each action; arguments as in `shac_objective`."""
    return lambda_returns(rewards, values, gamma, td_lambda, (~terminated).to(rewards.dtype), truncated)
