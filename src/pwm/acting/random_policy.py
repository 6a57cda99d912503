"""The floor every policy must beat: uniform random actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pwm.acting.rollout import EpisodeResults, run_episodes
from pwm.tasks.spec import TaskSpec


class RandomPolicy:
    """Actions uniform in [-1, 1], one new draw per agent step, for one call of `run_episodes`.

    The actions of an episode are a function of its own seed, so they do not depend on which episodes run together.
    """

    def __init__(self, specs: Sequence[TaskSpec], seeds: ArrayLike) -> None:
        seeds = np.asarray(seeds)
        steps = max(spec.episode_length for spec in specs)
        self._actions = np.zeros((steps, *seeds.shape, max(spec.action_dim for spec in specs)), dtype=np.float32)
        for n, spec in enumerate(specs):
            for e, seed in enumerate(seeds[n]):
                # The second word of the key keeps these draws apart from others made with the same seed.
                generator = np.random.Generator(np.random.Philox(key=[int(seed), 0x72616E64]))
                draws = generator.uniform(-1.0, 1.0, size=(spec.episode_length, spec.action_dim))
                self._actions[: spec.episode_length, n, e, : spec.action_dim] = draws
        self._step = 0

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Observations [N, E, O] -> actions [N, E, A] of the next step."""
        self._step += 1
        return self._actions[self._step - 1]


def run_random_policy(
    specs: Sequence[TaskSpec], seeds: ArrayLike, on_step: Callable[[int], None] | None = None
) -> EpisodeResults:
    """`run_episodes` with random actions: seeds [N, E] -> N x E episodes."""
    return run_episodes(specs, RandomPolicy(specs, seeds), seeds, on_step)
