"""How far imagination is from the real episodes that followed: the model's error, and how a policy exploits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pwm.agents.pwm.imagination import imagine
from pwm.agents.pwm.learner import FleetLearner
from pwm.data.store import Episode
from pwm.learning.returns import discounted_return
from pwm.nn.two_hot import symlog
from pwm.runtime import random

STATES = 64
"""States per member that both returns are measured from."""


class _Windows(NamedTuple):
    """STATES stretches of H steps of real episodes."""

    observations: Tensor
    """[H + 1, STATES, O], padded with zeros"""
    actions: Tensor
    """[H, STATES, A], likewise"""
    to_go: Tensor
    """[STATES], discounted real rewards from the first state to the episode's end"""


@torch.no_grad()
def gauge(learner: FleetLearner, episodes: Sequence[Sequence[Episode]], counter: int) -> dict[str, Tensor]:
    """Compare imagination with new real episodes of each member; values by name, each [members].

    Call it before model and policies learn from these episodes. Rewards are in the unit of the policy's `reward_space`.

    Args:
        learner: the fleet that played.
        episodes: of each member, at least one.
        counter: which draw of the noise this is.

    Returns:
        `real_discounted` and `imagined_discounted`: mean discounted return from the same real states in the first
        halves of the episodes, as it was, and as model, policy and critics expect it. Where the second is larger, the
        policy exploits the model, or the critics are inflated. The real one lacks what an episode's time limit cut off.
        `latent_error_1` and `latent_error_h`: squared error of the latent one and H steps ahead under the real actions,
        as a share of the latents' variance.
    """
    config, bound = learner.config, learner.bound
    horizon = min(config.horizon, min(len(e.rewards) for own in episodes for e in own))
    cut = [_windows(learner, own, horizon) for own in episodes]
    observations = torch.stack([w.observations for w in cut], dim=1).to(learner.device)
    actions = torch.stack([w.actions for w in cut], dim=1).to(learner.device)
    truth = bound.encode(observations)
    rolled = torch.stack(bound.rollout(truth[0], actions))
    errors = (rolled - truth).square().mean(dim=(2, 3))
    variance = truth.var(dim=(0, 2), unbiased=False).mean(dim=-1)
    noise = random.normal(learner.noise_keys, -1 - counter, (config.horizon, STATES, actions.shape[-1])).transpose(0, 1)
    rollout = imagine(
        bound, learner.averaged_actor, truth[0], noise, config.reward_space, mask_actions=config.mask_actions
    )
    last = learner.critic.value(rollout.latents[-1])
    expected = discounted_return(rollout.rewards, last, config.gamma, rollout.continues)
    return {
        "real_discounted": torch.stack([w.to_go for w in cut]).mean(dim=1),
        "imagined_discounted": expected.mean(dim=1),
        "latent_error_1": errors[1] / variance,
        "latent_error_h": errors[-1] / variance,
    }


def _windows(learner: FleetLearner, episodes: Sequence[Episode], horizon: int) -> _Windows:
    """STATES stretches, evenly spread over the first halves of a member's episodes."""
    space, gamma = learner.config.reward_space, learner.config.gamma
    starts = [
        (e, t) for e, x in enumerate(episodes) for t in range(min(len(x.rewards) // 2, len(x.rewards) - horizon) + 1)
    ]
    picked = [starts[i] for i in np.linspace(0, len(starts) - 1, STATES).round().astype(int)]
    widths = (learner.model.observation_dim, learner.model.action_dim)
    observations = torch.zeros(horizon + 1, STATES, widths[0])
    actions, to_go = torch.zeros(horizon, STATES, widths[1]), torch.zeros(STATES)
    tails = [_to_go(torch.as_tensor(np.asarray(x.rewards, np.float32)), gamma, space) for x in episodes]
    for row, (e, t) in enumerate(picked):
        episode = episodes[e]
        observations[:, row, : episode.observations.shape[1]] = torch.from_numpy(
            episode.observations[t : t + horizon + 1]
        )
        actions[:, row, : episode.actions.shape[1]] = torch.from_numpy(episode.actions[t : t + horizon])
        to_go[row] = tails[e][t]
    return _Windows(observations, actions, to_go)


def _to_go(rewards: Tensor, gamma: float, space: str) -> Tensor:
    """The discounted sum of the rewards [T] from each step on: [T]."""
    rewards, total = symlog(rewards) if space == "symlog" else rewards, torch.zeros(())
    sums = torch.empty_like(rewards)
    for t in range(len(rewards) - 1, -1, -1):
        total = rewards[t] + gamma * total
        sums[t] = total
    return sums
