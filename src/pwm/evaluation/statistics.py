"""Confidence intervals and robust means of scores.

Definitions follow Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
All intervals are seeded percentile bootstraps.
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


def bootstrap_mean_ci(
    x: ArrayLike, confidence: float = 0.95, samples: int = 10000, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval (low, high) of the mean of the scores `x` [n]; a single score gives (x, x).

    Raises PWMError for no scores, non-finite scores, or a confidence outside (0, 1).
    """
    scores = _checked(x, dimensions=1, name="x")
    _check_bootstrap(confidence, samples)
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            scores[generator.integers(len(scores), size=(count, len(scores)))].mean(axis=1)
            for count in _chunks(samples, len(scores))
        ]
    )
    return _percentiles(means, confidence)


def iqm(x: ArrayLike, axis: int | tuple[int, ...] | None = None) -> np.ndarray | float:
    """Interquartile mean: the mean without the lowest and the highest quarter of the scores (floor(n / 4) each).

    Over all scores, as a float, if `axis` is None; else over these axes.
    """
    scores = np.asarray(x, dtype=np.float64)
    if axis is None:
        scores, axis = scores.reshape(-1), (0,)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    scores = np.moveaxis(scores, axes, range(-len(axes), 0))
    scores = scores.reshape(*scores.shape[: scores.ndim - len(axes)], -1)
    count = scores.shape[-1]
    if count == 0:
        raise PWMError("iqm: there are no scores")
    cut = count // 4
    if cut:
        scores = np.partition(scores, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    mean = scores.mean(axis=-1)
    return float(mean) if mean.ndim == 0 else mean


def aggregate_iqm(x: np.ndarray) -> np.ndarray:
    """Interquartile mean over runs and tasks together: [..., runs, tasks] -> [...]."""
    return np.asarray(iqm(x, axis=(-2, -1)))


def aggregate_mean(x: np.ndarray) -> np.ndarray:
    """Mean over the tasks of the mean over runs: [..., runs, tasks] -> [...]."""
    return x.mean(axis=-2).mean(axis=-1)


def aggregate_median(x: np.ndarray) -> np.ndarray:
    """Median over the tasks of the mean over runs: [..., runs, tasks] -> [...]."""
    return np.median(x.mean(axis=-2), axis=-1)


def optimality_gap(x: np.ndarray, target: float = 1.0) -> np.ndarray:
    """Mean shortfall of scores below `target`, 0 for those above it: [..., runs, tasks] -> [...]."""
    return (target - np.minimum(x, target)).mean(axis=(-2, -1))


def stratified_bootstrap_ci(
    x: ArrayLike,
    statistic: Statistic = aggregate_iqm,
    confidence: float = 0.95,
    samples: int = 10000,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval (low, high) of `statistic` for scores `x` [runs, tasks].

    Runs are resampled within each task, independently for every task; tasks are not resampled. `statistic` is called on
    many resampled tables at once (see `Statistic`).

    Raises PWMError for no scores, non-finite scores, a confidence outside (0, 1), or a statistic of the wrong shape.
    """
    runs, tasks = _shape(x)
    columns = np.arange(tasks)

    def draw(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        return generator.integers(runs, size=(count, runs, tasks)), columns

    return _table_ci(x, draw, statistic, confidence, samples, seed)


def task_bootstrap_ci(
    x: ArrayLike,
    statistic: Statistic = aggregate_iqm,
    confidence: float = 0.95,
    samples: int = 10000,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval (low, high) of `statistic` for scores `x` [runs, tasks] over the choice of tasks.

    Tasks are resampled, and for every drawn task, runs within it (rliable's `task_bootstrap=True`). With one run per
    task this is the interval in the paper's Figure 6.

    Raises PWMError as `stratified_bootstrap_ci` does.
    """
    runs, tasks = _shape(x)

    def draw(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = generator.integers(runs, size=(count, runs, tasks))
        return rows, generator.integers(tasks, size=(count, 1, tasks))

    return _table_ci(x, draw, statistic, confidence, samples, seed)


def published_task_ci(
    x: ArrayLike,
    statistic: Statistic = aggregate_iqm,
    confidence: float = 0.95,
    samples: int = 10000,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval over tasks as in the paper's figures, for scores `x` [runs, tasks].

    The published notebook passes rliable its table with tasks and runs swapped, so tasks are resampled independently
    for every run. This is too narrow for several runs; for one it equals `task_bootstrap_ci`. Only for statistics that
    are symmetric in runs and tasks (`aggregate_iqm`, `aggregate_mean`).

    Raises PWMError as `stratified_bootstrap_ci` does.
    """
    _shape(x)
    return stratified_bootstrap_ci(np.asarray(x).T, statistic, confidence, samples, seed)


def performance_profile(x: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """The fraction of the scores `x` [runs, tasks] above each of the `thresholds` [n], as [n]."""
    scores = _checked(x, dimensions=2, name="x").reshape(-1, 1)
    return (scores > np.asarray(thresholds, dtype=np.float64)).mean(axis=0)


def _table_ci(
    x: ArrayLike,
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]],
    statistic: Statistic,
    confidence: float,
    samples: int,
    seed: int,
) -> tuple[float, float]:
    """Interval of `statistic` over resampled tables; `draw` gives the (runs, tasks) indices of a number of tables."""
    scores = _checked(x, dimensions=2, name="x")
    _check_bootstrap(confidence, samples)
    generator = np.random.default_rng(seed)
    values = []
    for count in _chunks(samples, scores.size):
        value = np.asarray(statistic(scores[draw(generator, count)]))
        if value.shape != (count,):
            raise PWMError(f"statistic must map [samples, runs, tasks] to [samples], it gave shape {value.shape}")
        values.append(value)
    return _percentiles(np.concatenate(values), confidence)


def _shape(x: ArrayLike) -> tuple[int, int]:
    runs, tasks = _checked(x, dimensions=2, name="x").shape
    return runs, tasks


def _checked(x: ArrayLike, dimensions: int, name: str) -> np.ndarray:
    scores = np.asarray(x, dtype=np.float64)
    if scores.ndim != dimensions or scores.size == 0:
        raise PWMError(f"{name} must have {dimensions} dimension(s) and at least one score, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise PWMError(f"{name} holds scores that are not finite")
    return scores


def _check_bootstrap(confidence: float, samples: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise PWMError(f"confidence must lie between 0 and 1, got {confidence}")
    if samples < 1:
        raise PWMError(f"samples must be at least 1, got {samples}")


def _chunks(samples: int, size: int) -> list[int]:
    """Splits `samples` into parts of at most about _CHUNK numbers, at `size` numbers per sample."""
    step = max(1, _CHUNK // size)
    return [min(step, samples - start) for start in range(0, samples, step)]


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)
