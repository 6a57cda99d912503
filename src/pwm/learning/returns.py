"""Discounted sums and lambda-returns of imagined rollouts (paper Eqs. 6-8)."""

from __future__ import annotations

import torch
from torch import Tensor


def discounted_return(
    rewards: Tensor, last_value: Tensor, gamma: float, continues: Tensor | None = None, bootstrap_exponent: int = 0
) -> Tensor:
    """sum_h gamma^h r_h + gamma^(H + bootstrap_exponent) V(z_H), the bracket in Eq. 6 with h from zero.

    Args:
        rewards: [H, ...].
        last_value: [...], the value of the state after the last reward.
        gamma: discount per step.
        continues: [H, ...], 0 where the episode terminated with the reward of the same index, else 1; nothing after a
            zero counts, including the bootstrap. None means no terminations.
        bootstrap_exponent: extra power of gamma on the bootstrap (the published code has 1).

    Returns:
        [...], one number per rollout.
    """
    total = last_value * gamma**bootstrap_exponent
    for h in range(rewards.shape[0] - 1, -1, -1):
        future = total if continues is None else total * continues[h]
        total = rewards[h] + gamma * future
    return total


def lambda_returns(
    rewards: Tensor,
    values: Tensor,
    gamma: float,
    lam: float,
    continues: Tensor | None = None,
    ends: Tensor | None = None,
) -> Tensor:
    """TD(lambda) targets by the backward recursion of Eqs. 7-8.

    `G_h = r_h + gamma c_h ((1 - lambda) V(z_{h+1}) + lambda G_{h+1})`, `G_H = V(z_H)`.

    Args:
        rewards: [H, ...].
        values: [H, ...], V(z_1) ... V(z_H): the value of the state after the reward of the same index.
        gamma, lam: discount and lambda.
        continues: [H, ...] as in `discounted_return`.
        ends: bool [H, ...], True where the episode was truncated (not terminated) after the reward of the same index:
            G_h bootstraps there as at the end of the rollout, and the following entries belong to another episode.

    Returns:
        [H, ...], the targets of z_0 ... z_{H-1}.
    """
    out = torch.empty_like(rewards)
    following = values[-1]
    for h in range(rewards.shape[0] - 1, -1, -1):
        if ends is not None:
            following = torch.where(ends[h], values[h], following)
        future = torch.lerp(values[h], following, lam)
        if continues is not None:
            future = future * continues[h]
        following = torch.add(rewards[h], future, alpha=gamma)
        out[h] = following
    return out
