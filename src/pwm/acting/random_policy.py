"""Random actions, and noise on those of a policy: functions of each episode's own seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pwm.acting.rollout import Act
from pwm.tasks.spec import TaskSpec

# The second word of each episode's key keeps these draws apart from each other.
_ACTIONS, _NOISE = 0x72616E64, 0x6E6F6973


def random_policy(specs: Sequence[TaskSpec], seeds: ArrayLike) -> Act:
    """Actions uniform in [-1, 1], new ones at each step, for one call of `run_episodes` with these tasks and seeds."""
    rows = iter(_draws(specs, seeds, _ACTIONS, lambda generator, shape: generator.uniform(-1.0, 1.0, shape)))
    return lambda observations: next(rows)


def with_noise(act: Act, noise: float, specs: Sequence[TaskSpec], seeds: ArrayLike) -> Act:
    """Adds normal noise of this standard deviation to actions [N, E, >=A], and clips them to [-1, 1].

    It is for one call of `run_episodes` with these tasks and seeds [N, E]; 0 leaves actions as they are.
    """
    if not noise:
        return act
    draws = _draws(specs, seeds, _NOISE, lambda generator, shape: generator.standard_normal(shape, np.float32))
    rows = iter(draws * np.float32(noise))
    return lambda observations: np.clip(act(observations)[..., : draws.shape[-1]] + next(rows), -1.0, 1.0)


def _draws(
    specs: Sequence[TaskSpec],
    seeds: ArrayLike,
    word: int,
    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray],
) -> np.ndarray:
    """float32 [T, N, E, A], zero beyond a task's own length and actions; episodes do not depend on each other."""
    seeds = np.asarray(seeds)
    sizes = [(spec.episode_length, spec.action_dim) for spec in specs]
    out = np.zeros((max(t for t, _ in sizes), *seeds.shape, max(a for _, a in sizes)), np.float32)
    for n, e in np.ndindex(*seeds.shape):
        generator = np.random.Generator(np.random.Philox(key=np.array([seeds[n, e], word], np.uint64)))
        out[: sizes[n][0], n, e, : sizes[n][1]] = draw(generator, sizes[n])
    return out
