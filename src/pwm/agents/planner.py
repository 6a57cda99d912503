"""Planning in the world model, instead of or on top of a policy: TD-MPC2's variant of MPPI.

MPPI (Williams et al. 2015) refines a Gaussian over action sequences: it draws sequences, evaluates each by predicted
rewards and the critics' value of its last state, and refits the Gaussian to the best, weighted by value. TD-MPC2
(Hansen et al. 2024, Section 3.2) adds sequences drawn from the policy and warm-starts from the previous plan. The
paper's "PWM + planning" is this with PWM's actors and critics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pwm.agents.plan_config import PlanConfig
from pwm.learning.returns import discounted_return
from pwm.runtime import random
from pwm.world_model.bound import BoundModel


class PlanNoise(NamedTuple):
    """Standard normal numbers for one plan of every row of every member."""

    policy: Tensor
    """[H, members, rows, policy_samples, action_dim]"""
    samples: Tensor
    """[iterations, H, members, rows, samples - policy_samples, action_dim]"""


def draw(keys: Tensor, counter: int, rows: int, action_dim: int, config: PlanConfig) -> PlanNoise:
    """The noise of plan number `counter`, a function of it and of the members' keys [members] (int64)."""
    h, own, others = config.horizon, config.policy_samples, config.samples - config.policy_samples
    count = h * rows * action_dim * (own + config.iterations * others)
    flat = random.normal(keys, counter, (count,))
    policy, samples = flat.split([h * rows * own * action_dim, count - h * rows * own * action_dim], dim=1)
    policy = policy.reshape(len(keys), h, rows, own, action_dim).transpose(0, 1)
    shape = (len(keys), config.iterations, h, rows, others, action_dim)
    return PlanNoise(policy, samples.reshape(shape).movedim(0, 2))


@torch.no_grad()
def plan(
    model: BoundModel,
    act: Callable[[Tensor, Tensor], Tensor],
    value: Callable[[Tensor], Tensor],
    latent: Tensor,
    previous: Tensor | None,
    noise: PlanNoise,
    config: PlanConfig,
    gamma: float,
    reward_space: str = "true",
    bootstrap_exponent: int = 0,
) -> tuple[Tensor, Tensor]:
    """One plan per row: a pure function of its arguments.

    Args:
        model: a frozen world model, bound to the members' tasks.
        act: the policy: latents [members, n, latent_dim] and standard normal noise [members, n, action_dim] to actions.
        value: the critic: latents [members, n, latent_dim] to their values [members, n].
        latent: [members, rows, latent_dim].
        previous: the mean returned at the previous step, or None at the first step of an episode.
        noise: see `draw`.
        config: settings.
        gamma, reward_space, bootstrap_exponent: the return that `value` estimates, see `discounted_return` and
            `TwoHot.decode`.

    Returns:
        the action [members, rows, action_dim] in [-1, 1], zero where masked; and the mean of the plan
        [H, members, rows, action_dim], for the next step.
    """
    members, rows, _ = latent.shape
    mask = model.action_mask.unsqueeze(2)  # [members, 1, 1, action_dim]
    own = _policy_actions(model, act, latent, noise.policy) * mask
    start = _repeat(latent, config.samples)
    shape = (config.horizon, members, rows, mask.shape[-1])
    mean = latent.new_zeros(shape)
    if previous is not None:
        mean[:-1] = previous[1:]
    std = latent.new_full(shape, config.max_std)
    for eps in noise.samples:
        drawn = torch.addcmul(mean.unsqueeze(3), std.unsqueeze(3), eps).clamp(-1.0, 1.0) * mask
        candidates = torch.cat((own, drawn), dim=3)
        flat = candidates.flatten(2, 3)
        z = torch.stack(model.rollout(start, flat))
        rewards, continues = model.reward(z[:-1], flat, reward_space), model.continues(z[1:])
        values = discounted_return(rewards, value(z[-1]), gamma, continues, bootstrap_exponent)
        best, which = values.view(members, rows, -1).topk(config.elites, dim=-1)
        index = which.unsqueeze(-1).expand(config.horizon, -1, -1, -1, mask.shape[-1])
        elites = candidates.gather(3, index)
        weight = torch.softmax(config.temperature * best, dim=-1).unsqueeze(-1)
        mean = (weight * elites).sum(dim=3)
        spread = (weight * (elites - mean.unsqueeze(3)).square()).sum(dim=3)
        std = spread.sqrt().clamp(config.min_std, config.max_std)
    return mean[0], mean


def _policy_actions(
    model: BoundModel, act: Callable[[Tensor, Tensor], Tensor], latent: Tensor, noise: Tensor
) -> Tensor:
    """Actions [H, members, rows, samples, action_dim] of the policy, imagined from every row."""
    horizon, members, rows, samples, width = noise.shape
    if samples == 0:
        return noise
    z, actions = _repeat(latent, samples), []
    for eps in noise.reshape(horizon, members, rows * samples, width):
        actions.append(act(z, eps))
        z = model.step(z, actions[-1])
    return torch.stack(actions).view(horizon, members, rows, samples, width)


def _repeat(latent: Tensor, samples: int) -> Tensor:
    """[members, rows, z] to [members, rows * samples, z]; the samples of a row are adjacent."""
    return latent.unsqueeze(2).expand(-1, -1, samples, -1).flatten(1, 2)
