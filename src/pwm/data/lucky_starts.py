"""How much of an episode's return was settled by where it started."""

from __future__ import annotations

import numpy as np

from pwm.data.moments import constant
from pwm.data.store import EpisodeStore

MOST_EPISODES = 500
LEAST_EPISODES = 20
LUCKY = 0.5
"""Share from which on the best episodes had luck rather than skill."""
_RIDGES = 10.0 ** np.arange(-3, 3)


def explained_by_start(store: EpisodeStore, task: str) -> float:
    """Share of the variance of a task's returns that the first observation explains, from 0 to 1.

    By kernel ridge regression (Gaussian, as wide as the median distance), judged on each episode by the fit to all
    others. Of more than 500 episodes, every so many are used; of fewer than 20, nothing is known and the share is 0.
    """
    data = store[task]
    chosen = np.arange(0, len(data.lengths), -(-len(data.lengths) // MOST_EPISODES))
    if len(chosen) < LEAST_EPISODES:
        return 0.0
    starts = np.stack([data.episode(int(e)).observations[0] for e in chosen]).astype(float)
    returns = np.asarray(store.returns(task), float)[chosen]
    mean, deviation, spread = starts.mean(axis=0), starts.std(axis=0), returns.var()
    moving = ~constant(mean, deviation)
    starts = ((starts - mean) / np.where(moving, deviation, 1.0))[:, moving]
    if spread == 0.0 or not starts.shape[1]:
        return 0.0
    squares = (starts**2).sum(axis=1)
    distance = np.maximum(squares[:, None] + squares - 2 * starts @ starts.T, 0.0)
    kernel = np.exp(-distance / np.median(distance[distance > 0]))
    return max(0.0, max(1.0 - _left_out(kernel, returns, ridge) / spread for ridge in _RIDGES))


def _left_out(kernel: np.ndarray, returns: np.ndarray, ridge: float) -> float:
    """Mean squared error on each episode of the fit to all others, in closed form."""
    inverse = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
    # The mean is fitted along, by a vector of ones.
    ones = inverse.sum(axis=1)
    inverse = inverse - np.outer(ones, ones) / ones.sum()
    return float(np.mean((inverse @ returns / np.diag(inverse)) ** 2))
