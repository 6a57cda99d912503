"""Planning in the world model instead of, or on top of, a policy: TD-MPC2's form of MPPI.

MPPI (Williams et al. 2015) refines a Gaussian over sequences of actions: draw sequences, value each by the rewards the
model foretells and the critics' value of where it ends, and weigh the best by how good they are. TD-MPC2 (Hansen et al.
2024, Section 3.2) adds sequences of the policy to the draws and begins at the plan of the step before. The paper's
"PWM + planning" is this with PWM's actors and critics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.learning.returns import discounted_return
from pwm.runtime import random
from pwm.runtime.config import require
from pwm.world_model.model import TaskContext, WorldModel


@dataclass(frozen=True)
class PlanConfig:
    """TD-MPC2's settings."""

    horizon: int = 3
    """Steps of a plan."""
    samples: int = 512
    """Sequences valued in every iteration, the policy's among them."""
    policy_samples: int = 24
    """How many of them are the policy's own."""
    elites: int = 64
    """The best of them, which make the next Gaussian."""
    iterations: int = 6
    """Refinements of the Gaussian."""
    temperature: float = 0.5
    """How much better elites weigh more: in proportion to exp(temperature * value)."""
    min_std: float = 0.05
    """Bounds on the Gaussian's deviation, which starts at the larger one."""
    max_std: float = 2.0
    """See `min_std`."""

    def __post_init__(self) -> None:
        for name in ("horizon", "samples", "elites", "iterations"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.policy_samples <= self.samples, "policy_samples", self.policy_samples, "from 0 to samples")
        require(self.elites <= self.samples, "elites", self.elites, "at most samples")
        require(0 < self.min_std <= self.max_std, "min_std", self.min_std, "above 0 and at most max_std")


class PlanNoise(NamedTuple):
    """Standard normal numbers for one plan of every row of every member."""

    policy: Tensor
    """[H, members, rows, policy_samples, action_dim]"""
    samples: Tensor
    """[iterations, H, members, rows, samples - policy_samples, action_dim]"""


def draw(keys: Tensor, counter: int, rows: int, action_dim: int, config: PlanConfig) -> PlanNoise:
    """The noise of plan number `counter`, a function of the members' keys [members] (int64) and of it alone."""
    h, own, others = config.horizon, config.policy_samples, config.samples - config.policy_samples
    count = h * rows * action_dim * (own + config.iterations * others)
    flat = random.normal(keys, counter, (count,))
    policy, samples = flat.split([h * rows * own * action_dim, count - h * rows * own * action_dim], dim=1)
    policy = policy.reshape(len(keys), h, rows, own, action_dim).transpose(0, 1)
    shape = (len(keys), config.iterations, h, rows, others, action_dim)
    return PlanNoise(policy, samples.reshape(shape).movedim(0, 2))


@torch.no_grad()
def plan(
    model: WorldModel,
    context: TaskContext,
    actor: FleetActor,
    critic: FleetCritic,
    latent: Tensor,
    previous: Tensor | None,
    noise: PlanNoise,
    learning: PolicyConfig,
    config: PlanConfig,
) -> tuple[Tensor, Tensor]:
    """One plan per row: a pure function of its arguments.

    Args:
        model: a frozen world model.
        context: task context with leading axes [members, 1].
        actor, critic: a fleet's.
        latent: [members, rows, latent_dim].
        previous: the mean that the step before returned, or None in the first step of an episode.
        noise: see `draw`.
        learning: how the critics were trained: discount and space of the rewards.
        config: settings.

    Returns:
        the action to take, [members, rows, action_dim] in [-1, 1], zero where masked; and the mean of the plan
        [H, members, rows, action_dim], for the next step.
    """
    members, rows, _ = latent.shape
    mask = context.action_mask.unsqueeze(2)  # [members, 1, 1, action_dim]
    own = _policy_actions(model, context, actor, latent, noise.policy) * mask
    shape = (config.horizon, members, rows, mask.shape[-1])
    mean = latent.new_zeros(shape)
    if previous is not None:
        mean[:-1] = previous[1:]
    std = latent.new_full(shape, config.max_std)
    for eps in noise.samples:
        drawn = torch.addcmul(mean.unsqueeze(3), std.unsqueeze(3), eps).clamp(-1.0, 1.0) * mask
        candidates = torch.cat((own, drawn), dim=3)
        values = _values(model, context, critic, latent, candidates, learning)
        best, which = values.topk(config.elites, dim=-1)  # [members, rows, elites]
        index = which.unsqueeze(-1).expand(config.horizon, -1, -1, -1, mask.shape[-1])
        elites = candidates.gather(3, index)
        weight = torch.softmax(config.temperature * best, dim=-1).unsqueeze(-1)
        mean = (weight * elites).sum(dim=3)
        spread = (weight * (elites - mean.unsqueeze(3)).square()).sum(dim=3)
        std = spread.sqrt().clamp(config.min_std, config.max_std)
    return mean[0], mean


def _policy_actions(
    model: WorldModel, context: TaskContext, actor: FleetActor, latent: Tensor, noise: Tensor
) -> Tensor:
    """Actions [H, members, rows, samples, action_dim] of the actor, imagined from every row."""
    horizon, members, rows, samples, width = noise.shape
    if samples == 0:
        return noise
    z, actions = _repeat(latent, samples), []
    for eps in noise.reshape(horizon, members, rows * samples, width):
        actions.append(actor(z, eps))
        z = model.step(z, actions[-1], context)
    return torch.stack(actions).view(horizon, members, rows, samples, width)


def _values(
    model: WorldModel,
    context: TaskContext,
    critic: FleetCritic,
    latent: Tensor,
    actions: Tensor,
    learning: PolicyConfig,
) -> Tensor:
    """Discounted rewards of sequences [H, members, rows, samples, action_dim], bootstrap included: [members, rows,
    samples]."""
    horizon, members, rows, samples, width = actions.shape
    latents = [_repeat(latent, samples)]
    flat = actions.reshape(horizon, members, rows * samples, width)
    for action in flat:
        latents.append(model.step(latents[-1], action, context))
    z = torch.stack(latents)
    rewards = model.two_hot.decode(model.reward_logits(z[:-1], flat, context), learning.reward_space)
    continues = None
    if model.termination is not None:
        continues = (model.termination_logit(z[1:], context) <= 0.0).to(rewards.dtype)
    total = discounted_return(rewards, critic.value(z[-1]), learning.gamma, continues, learning.bootstrap_exponent)
    return total.view(members, rows, samples)


def _repeat(latent: Tensor, samples: int) -> Tensor:
    """[members, rows, z] to [members, rows * samples, z], the samples of a row side by side."""
    return latent.unsqueeze(2).expand(-1, -1, samples, -1).flatten(1, 2)
