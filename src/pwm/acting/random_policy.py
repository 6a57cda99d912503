"""Random actions, and noise added to a policy's actions, as functions of each episode's seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pwm.acting.rollout import Act
from pwm.tasks.spec import TaskSpec

# Second words of an episode's key, which separate these two streams.
_ACTIONS, _NOISE = 0x72616E64, 0x6E6F6973


def random_policy(specs: Sequence[TaskSpec], seeds: ArrayLike) -> Act:
    """Actions drawn uniformly from [-1, 1] at each step, for one call of `run_episodes` with these tasks and seeds."""
    rows = iter(_draws(specs, seeds, _ACTIONS, lambda generator, shape: generator.uniform(-1.0, 1.0, shape)))
    return lambda observations: next(rows)


def with_noise(act: Act, noise: float, specs: Sequence[TaskSpec], seeds: ArrayLike) -> Act:
    """Add normal noise with this standard deviation to actions [N, E, >=A], and clip them to [-1, 1].

    For one call of `run_episodes` with these tasks and seeds [N, E]. With 0, actions are unchanged.
    """
    if not noise:
        return act
    draws = _draws(specs, seeds, _NOISE, lambda generator, shape: generator.standard_normal(shape, np.float32))
    rows = iter(draws * np.float32(noise))
    return lambda observations: np.clip(act(observations)[..., : draws.shape[-1]] + next(rows), -1.0, 1.0)


def _draws(specs: Sequence[TaskSpec], seeds: ArrayLike, word: int, draw: Callable[..., np.ndarray]) -> np.ndarray:
    """float32 [T, N, E, A], zero beyond a task's own length and action size; independent for every episode."""
    seeds = np.asarray(seeds)
    sizes = [(spec.episode_length, spec.action_dim) for spec in specs]
    out = np.zeros((max(t for t, _ in sizes), *seeds.shape, max(a for _, a in sizes)), np.float32)
    for n, e in np.ndindex(*seeds.shape):
        generator = np.random.Generator(np.random.Philox(key=np.array([seeds[n, e], word], np.uint64)))
        out[: sizes[n][0], n, e, : sizes[n][1]] = draw(generator, sizes[n])
    return out
