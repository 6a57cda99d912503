"""Acting in real episodes: a fleet's actors with noise, kept policies without, and one policy for a robot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pwm.acting.policy_file import DeployedPolicy
from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime import random
from pwm.runtime.errors import PWMError
from pwm.runtime.random import key_of

_STRIDE = 1 << 20  # calls per round that have noise of their own


def noisy_actions(learner: FleetLearner, round_number: int) -> Callable[[np.ndarray], np.ndarray]:
    """How a fleet acts in a round of real episodes: observations [N, E, O] to actions [N, E, A], one call per step.

    The averaged actors act. The noise is their own, and a function of a member's task and seed, the round, and the
    number of the call.
    """
    keys = torch.tensor([key_of(seed, task, "explore") for task, seed in _members(learner)])
    counter = round_number * _STRIDE

    @torch.no_grad()
    def act(observations: np.ndarray) -> np.ndarray:
        nonlocal counter
        counter += 1
        noise = random.normal(keys, counter, (observations.shape[1], learner.model.action_dim))
        return learner.averaged_actor(_latents(learner, observations), noise.to(learner.device)).cpu().numpy()

    return act


def mean_actions(policies: Sequence[DeployedPolicy]) -> Callable[[np.ndarray], np.ndarray]:
    """How policies act without noise: observations [N, E, O] to actions [N, E, A], both padded."""
    width = max(policy.action_dim for policy in policies)

    def act(observations: np.ndarray) -> np.ndarray:
        actions = np.zeros((*observations.shape[:2], width), np.float32)
        for own, seen, policy in zip(actions, observations, policies, strict=True):
            own[:, : policy.action_dim] = policy.act(seen[:, : policy.observation_dim])
        return actions

    return act


class ExploringPolicy:
    """One policy as it acts in a round of real episodes, for whoever plays them: a robot, another machine.

    Attributes: `task`, `seed`, `observation_dim`, `action_dim`.
    """

    def __init__(
        self, task: str, seed: int, sizes: tuple[int, int], round_number: int, learner: FleetLearner | None = None
    ) -> None:
        self.task, self.seed = task, seed
        self.observation_dim, self.action_dim = sizes
        self._key = torch.tensor([key_of(seed, task, "random")])
        self._calls = round_number * _STRIDE
        self._fleet = None
        if learner is not None:
            self._fleet, self._member = (
                noisy_actions(learner, round_number),
                _members(learner).index((task, seed)),
            )
            self._padded = np.zeros((len(learner.tasks), 1, learner.model.observation_dim), np.float32)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action for one observation [o], with noise: float32 [a] in [-1, 1]. Uniform before anything is learned.

        Raises:
            PWMError: the observation has another width, or entries that are not finite.
        """
        x = np.asarray(observation, np.float32)
        if x.shape != (self.observation_dim,) or not np.isfinite(x).all():
            raise PWMError(f"{self.task}: act on one finite observation [{self.observation_dim}], got {list(x.shape)}")
        if self._fleet is None:
            self._calls += 1
            return (2.0 * random.uniform(self._key, self._calls, (self.action_dim,))[0] - 1.0).numpy()
        self._padded[self._member, 0, : len(x)] = x
        return self._fleet(self._padded)[self._member, 0, : self.action_dim]


def _latents(learner: FleetLearner, observations: np.ndarray) -> torch.Tensor:
    padded = torch.zeros(*observations.shape[:2], learner.model.observation_dim)
    padded[..., : observations.shape[2]] = torch.from_numpy(observations)
    return learner.bound.encode(padded.to(learner.device))


def _members(learner: FleetLearner) -> list[tuple[str, int]]:
    return list(zip(learner.tasks, learner.seeds, strict=True))
