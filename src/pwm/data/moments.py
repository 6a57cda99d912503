"""Mean and deviation of a task's observations, and which entries never change."""

from __future__ import annotations

import numpy as np

from pwm.data.store import EpisodeStore

EPISODES = 256
"""Most episodes of a task that are read to judge its observations and actions."""
_CHUNK = 1 << 18  # numbers
_CONSTANT_DEVIATION = 0.01
_LEAST = 1e-30  # its inverse is still a float32


def moments(store: EpisodeStore, task: str, episodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, float64 [observation_dim], over (at most 256 of) the given episodes of a task.

    Episodes are read piece by piece, so memory does not grow with their length.
    """
    data = store[task]
    step = max(_CHUNK // data.observation_dim, 1)
    count, mean, squares = 0, np.zeros(data.observation_dim), np.zeros(data.observation_dim)
    for e in episodes[:: max(1, len(episodes) // EPISODES)]:
        rows = data.episode(e).observations
        for first in range(0, len(rows), step):
            piece = rows[first : first + step].astype(np.float64)
            own, away = len(piece), piece.mean(axis=0) - mean
            squares += ((piece - piece.mean(axis=0)) ** 2).sum(axis=0) + away**2 * (count * own / (count + own))
            mean += away * (own / (count + own))
            count += own
    return mean, np.sqrt(squares / max(count - 1, 1))


def resolution(mean: np.ndarray) -> np.ndarray:
    """Distance between neighbouring float32 numbers at these values, in float64."""
    return np.spacing(np.abs(mean).astype(np.float32)).astype(np.float64)


def constant(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Which entries never change, but for the rounding of float32: bool [observation_dim]."""
    return deviation <= np.maximum(2.0 * resolution(mean), _LEAST)


def divisors(mean: np.ndarray, deviation: np.ndarray, early: bool = False) -> np.ndarray:
    """What to divide observations by: their deviation, and for constant entries a number that blows nothing up.

    Args:
        early: the episodes are the first few of many, and entries that hardly move in them may move later: no divisor
            is below 0.01, or a hundredth of the largest deviation if that is less.
    """
    still = constant(mean, deviation)
    found = np.where(still, np.maximum(_CONSTANT_DEVIATION, 1000.0 * resolution(mean)), deviation)
    if early and not still.all():
        found = np.maximum(found, min(_CONSTANT_DEVIATION, _CONSTANT_DEVIATION * deviation[~still].max()))
    return found
