"""Aggregates and their intervals against rliable, the field's own implementation, and against published numbers."""

import numpy as np
import pytest
import scipy.stats

from pwm.evaluation import statistics
from pwm.evaluation.statistics import (
    aggregate_iqm,
    aggregate_mean,
    aggregate_median,
    performance_profile,
    published_task_ci,
    stratified_bootstrap_ci,
    task_bootstrap_ci,
)

AGGREGATES = (aggregate_iqm, aggregate_mean, aggregate_median)


@pytest.fixture(scope="module")
def rliable():
    try:
        from rliable import library, metrics
    except Exception as error:  # with pandas 3 its import fails in a way of its own
        pytest.skip(f"rliable cannot be imported: {error}")
    functions = (metrics.aggregate_iqm, metrics.aggregate_mean, metrics.aggregate_median)

    def estimates(table, reps, **more):
        """(values [3], intervals [3, 2]) of IQM, mean and median."""

        def together(scores):
            return np.array([function(scores) for function in functions])

        values, intervals = library.get_interval_estimates({"x": table}, together, reps=reps, **more)
        return values["x"], intervals["x"].T

    estimates.library = library
    return estimates


def table(runs, tasks, seed=0):
    """Scores as they are: most tasks nearly solved, some not, runs that differ."""
    random = np.random.default_rng(seed)
    level = random.beta(2.0, 1.0, size=tasks)
    return np.clip(level + random.normal(0.0, 0.08, size=(runs, tasks)), 0.0, 1.0)


@pytest.mark.parametrize("shape", [(5, 8), (3, 30), (10, 7)])
def test_values(rliable, shape):
    values, _ = rliable(table(*shape), 2)
    np.testing.assert_allclose([f(table(*shape)) for f in AGGREGATES], values, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "ours", "task_bootstrap"),
    [((10, 12), stratified_bootstrap_ci, False), ((3, 80), task_bootstrap_ci, True)],
)
def test_three_digits_over_seeds_and_over_tasks(rliable, shape, ours, task_bootstrap):
    x, reps = table(*shape), 20_000
    np.random.seed(0)  # rliable draws from the global generator
    _, theirs = rliable(x, reps, task_bootstrap=task_bootstrap)
    mine = np.array([ours(x, f, samples=5 * reps) for f in AGGREGATES])
    # What so many resamples leave to chance is less than the third digit over seeds, and about that over tasks.
    assert np.abs(mine - theirs).max() < (2e-3 if task_bootstrap else 1e-3), (mine, theirs)
    assert (mine[:, 1] - mine[:, 0]).min() > 0.02


@pytest.mark.parametrize("orientation", ["over seeds", "over tasks", "as published"])
def test_the_same_draws_give_the_same_interval(rliable, monkeypatch, orientation):
    """rliable draws with `np.random.choice`; handed our draws, it finds our interval to the last digits."""
    x, reps, seed = table(4, 6), 400, 3
    given = x.T if orientation == "as published" else x
    runs, tasks = given.shape
    generator = np.random.default_rng(seed)
    rows = generator.integers(runs, size=(reps, runs, tasks))
    columns = generator.integers(tasks, size=(reps, 1, tasks)) if orientation == "over tasks" else None
    queue = [part[i] for i in range(reps) for part in (rows, columns) if part is not None]
    monkeypatch.setattr(np.random, "choice", lambda count, shape, replace: queue.pop(0).reshape(shape))
    _, theirs = rliable(given, reps, task_bootstrap=orientation == "over tasks")
    assert queue == []
    ours = {"over seeds": stratified_bootstrap_ci, "over tasks": task_bootstrap_ci, "as published": published_task_ci}
    functions = AGGREGATES[: 2 if orientation == "as published" else 3]
    mine = [ours[orientation](x, f, samples=reps, seed=seed) for f in functions]
    np.testing.assert_allclose(mine, theirs[: len(functions)], rtol=1e-12)


def test_a_profile(rliable):
    thresholds = np.linspace(0, 1, 21)
    x = table(4, 6)
    np.testing.assert_allclose(
        performance_profile(x, thresholds), rliable.library.score_distributions(x, thresholds), rtol=1e-12
    )
    assert performance_profile([[0.2, 0.6]], [0.0, 0.2, 0.5, 0.6]).tolist() == [1.0, 0.5, 0.5, 0.0]


def test_intervals_over_tasks_by_hand():
    # Two tasks, one run: the mean of two tasks drawn is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    two = [[0.0, 1.0]]
    assert task_bootstrap_ci(two, aggregate_mean, 0.9) == (0.0, 1.0)
    assert task_bootstrap_ci(two, aggregate_mean, 0.4) == (0.5, 0.5)
    # Runs that agree: a task drawn brings all of them, so they add nothing ...
    four = np.tile(two, (4, 1))
    assert task_bootstrap_ci(four, aggregate_mean, 0.9) == (0.0, 1.0)
    # ... but tasks drawn anew for every run make eight draws of two.
    low, high = published_task_ci(four, aggregate_mean, 0.9)
    binomial = scipy.stats.binom.ppf([0.05, 0.95], 8, 0.5) / 8
    assert (low, high) == tuple(binomial)


def test_a_task_drawn_brings_runs_of_its_own():
    # One run of each task is off by 1: within each task drawn, runs are drawn too.
    x = np.array([[0.0, 10.0], [1.0, 11.0]])
    means = set()
    task_bootstrap_ci(x, lambda y: means.update(np.unique(y.mean(axis=(-2, -1)))) or y.mean(axis=(-2, -1)))
    assert means == {a + b for a in (0.0, 5.0, 10.0) for b in (0.0, 0.25, 0.5, 0.75, 1.0)}


# Return / 1000 of the published MT30 policies, one run of ten episodes per task; and success or return / 1000 of MT80's
# dm_control half. The paper's own processing of these gives an IQM of 0.8638 with the interval [0.729, 0.927].
MT30 = [0.9954, 0.9858, 0.8578, 0.4145, 0.9917, 0.9883, 0.1164, 0.8691, 0.9997, 1.0, 0.8966, 0.9534, 0.4716, 0.9776]
MT30 += [0.8799, 0.8712, 0.8444, 0.3947, 0.1624, 0.9778, 0.7916, 0.6010, 0.5494, 0.8259, 0.7938, 0.1651, 0.9891]
MT30 += [0.9749, 0.8396, 0.8669]


def test_the_published_multi_task_numbers():
    x = np.array([MT30])
    assert x.shape == (1, 30)
    trimmed = sorted(MT30)[7:-7]  # a quarter of 30 is 7.5: seven go on either side
    assert aggregate_iqm(x) == pytest.approx(np.mean(trimmed)) == pytest.approx(0.8638, abs=5e-5)
    assert aggregate_mean(x) == pytest.approx(0.7682, abs=5e-5)
    for method in (task_bootstrap_ci, published_task_ci):  # with one run they are the same interval
        assert method(x, samples=2000) == pytest.approx((0.729, 0.927), abs=0.012)
    assert stratified_bootstrap_ci(x) == (aggregate_iqm(x), aggregate_iqm(x))  # nothing to draw: no interval at all


def test_resampling_is_fast_and_follows_the_seed(monkeypatch):
    x = table(10, 80)
    assert (
        task_bootstrap_ci(x, samples=200)
        == task_bootstrap_ci(x, samples=200)
        != task_bootstrap_ci(x, samples=200, seed=1)
    )
    monkeypatch.setattr(statistics, "_CHUNK", 8000)
    sizes = []

    def count(tables):
        sizes.append(tables.shape)
        return tables.mean(axis=(-2, -1))

    task_bootstrap_ci(x, count, samples=25)
    assert sizes == [(10, 10, 80), (10, 10, 80), (5, 10, 80)]
