"""Confidence intervals and robust means of scores.

Definitions follow Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
All intervals are seeded percentile bootstraps, (low, high). They raise PWMError for no scores, non-finite scores, or a
confidence outside (0, 1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from pwm.runtime.errors import PWMError

# Resampled scores held in memory at once.
_CHUNK = 4_000_000

Statistic = Callable[[np.ndarray], np.ndarray]
"""Maps scores [..., runs, tasks] to [...], one number per table."""


def aggregate_iqm(x: np.ndarray) -> np.ndarray:
    """Interquartile mean over runs and tasks together: [..., runs, tasks] -> [...].

    The mean without the lowest and the highest quarter of the scores (floor(n / 4) each).
    """
    scores = x.reshape(*x.shape[:-2], -1)
    count = scores.shape[-1]
    if cut := count // 4:
        scores = np.partition(scores, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return scores.mean(axis=-1)


def aggregate_mean(x: np.ndarray) -> np.ndarray:
    """Mean over the tasks of the mean over runs: [..., runs, tasks] -> [...]."""
    return x.mean(axis=-2).mean(axis=-1)


def aggregate_median(x: np.ndarray) -> np.ndarray:
    """Median over the tasks of the mean over runs: [..., runs, tasks] -> [...]."""
    return np.median(x.mean(axis=-2), axis=-1)


def stratified_bootstrap_ci(
    x: ArrayLike, statistic: Statistic = aggregate_iqm, confidence: float = 0.95, samples: int = 10000, seed: int = 0
) -> tuple[float, float]:
    """Interval of `statistic` for scores `x` [runs, tasks] over the choice of runs.

    Runs are resampled within each task, independently for every task; tasks are not resampled. `statistic` is called on
    many resampled tables at once (see `Statistic`); PWMError if it gives the wrong shape.
    """
    return _table_ci(x, False, statistic, confidence, samples, seed)


def task_bootstrap_ci(
    x: ArrayLike, statistic: Statistic = aggregate_iqm, confidence: float = 0.95, samples: int = 10000, seed: int = 0
) -> tuple[float, float]:
    """Interval of `statistic` for scores `x` [runs, tasks] over the choice of tasks.

    Tasks are resampled, and for every drawn task, runs within it (rliable's `task_bootstrap=True`). With one run per
    task this is the interval in the paper's Figure 6.
    """
    return _table_ci(x, True, statistic, confidence, samples, seed)


def published_task_ci(
    x: ArrayLike, statistic: Statistic = aggregate_iqm, confidence: float = 0.95, samples: int = 10000, seed: int = 0
) -> tuple[float, float]:
    """The interval over tasks as in the paper's figures, for scores `x` [runs, tasks].

    The published notebook passes rliable its table with tasks and runs swapped, so tasks are resampled independently
    for every run. This is too narrow for several runs; for one it equals `task_bootstrap_ci`. Only for statistics that
    are symmetric in runs and tasks (`aggregate_iqm`, `aggregate_mean`).
    """
    return stratified_bootstrap_ci(_checked(x).T, statistic, confidence, samples, seed)


def performance_profile(x: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """The fraction of the scores `x` [runs, tasks] above each of the `thresholds` [n], as [n]."""
    return (_checked(x).reshape(-1, 1) > np.asarray(thresholds, dtype=np.float64)).mean(axis=0)


def _table_ci(
    x: ArrayLike, draw_tasks: bool, statistic: Statistic, confidence: float, samples: int, seed: int
) -> tuple[float, float]:
    """Interval of `statistic` over resampled tables, in which runs are drawn anew, and tasks too with `draw_tasks`."""
    scores = _checked(x)
    if not 0.0 < confidence < 1.0:
        raise PWMError(f"confidence must lie between 0 and 1, got {confidence}")
    if samples < 1:
        raise PWMError(f"samples must be at least 1, got {samples}")
    generator, tasks = np.random.default_rng(seed), scores.shape[1]
    values = []
    for count in _chunks(samples, scores.size):
        rows = generator.integers(len(scores), size=(count, *scores.shape))
        columns = generator.integers(tasks, size=(count, 1, tasks)) if draw_tasks else np.arange(tasks)
        value = np.asarray(statistic(scores[rows, columns]))
        if value.shape != (count,):
            raise PWMError(f"statistic must map [samples, runs, tasks] to [samples], it gave shape {value.shape}")
        values.append(value)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(np.concatenate(values), [tail, 100.0 - tail])
    return float(low), float(high)


def _checked(x: ArrayLike) -> np.ndarray:
    scores = np.asarray(x, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise PWMError(f"x must have 2 dimension(s) and at least one score, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise PWMError("x holds scores that are not finite")
    return scores


def _chunks(samples: int, size: int) -> list[int]:
    """Splits `samples` into parts of at most about _CHUNK numbers, at `size` numbers per sample."""
    step = max(1, _CHUNK // size)
    return [min(step, samples - start) for start in range(0, samples, step)]
