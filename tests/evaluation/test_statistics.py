import numpy as np
import pytest
import scipy.stats

from pwm.evaluation import statistics
from pwm.evaluation.statistics import (
    aggregate_iqm,
    aggregate_mean,
    aggregate_median,
    stratified_bootstrap_ci,
)
from pwm.runtime.errors import PWMError


def scores(*shape, seed=0):
    return np.random.default_rng(seed).gamma(2.0, size=shape)


def mean_ci(x, *args, **options):
    """Interval of the mean of the scores of one task."""
    return stratified_bootstrap_ci(np.asarray(x)[:, None], aggregate_mean, *args, **options)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 30, 101])
def test_iqm_is_the_quarter_trimmed_mean(count):
    x = scores(count)
    assert aggregate_iqm(x[:, None]) == pytest.approx(scipy.stats.trim_mean(x, 0.25), rel=1e-12)


def test_iqm_by_hand():
    assert aggregate_iqm(np.array([[100.0], [1.0], [2.0], [-50.0]])) == 1.5
    table = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 700.0]])
    assert aggregate_iqm(table) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_iqm_of_many_tables():
    x = scores(6, 5, 7)
    np.testing.assert_allclose(aggregate_iqm(x), scipy.stats.trim_mean(x.reshape(6, -1), 0.25, axis=-1), rtol=1e-12)


def test_aggregates_by_hand():
    x = np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 7.0]])
    assert aggregate_mean(x) == pytest.approx(2.5)
    assert aggregate_median(x) == pytest.approx(2.0)
    assert aggregate_iqm(x) == pytest.approx((1 + 2 + 2 + 3) / 4)
    stack = np.stack([x, 10 * x])
    for statistic in (aggregate_mean, aggregate_median, aggregate_iqm):
        np.testing.assert_allclose(statistic(stack), [statistic(x), statistic(10 * x)])


def test_mean_interval_agrees_with_an_independent_bootstrap():
    x = scores(15)
    expected = scipy.stats.bootstrap(
        (x,), np.mean, n_resamples=20000, confidence_level=0.9, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(mean_ci(x, 0.9, 20000), expected, atol=0.02)


def test_mean_interval_of_two_scores_by_hand():
    # The mean of a resample of {0, 1} is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    assert mean_ci([0.0, 1.0], confidence=0.9) == (0.0, 1.0)
    assert mean_ci([0.0, 1.0], confidence=0.4) == (0.5, 0.5)
    assert mean_ci([3.5]) == (3.5, 3.5)


def test_intervals_follow_the_seed_and_the_confidence():
    x = scores(12)
    table = scores(5, 4)
    assert mean_ci(x) == mean_ci(x, seed=0) != mean_ci(x, seed=1)
    assert stratified_bootstrap_ci(table) == stratified_bootstrap_ci(table) != stratified_bootstrap_ci(table, seed=1)
    (low, high), (wider_low, wider_high) = mean_ci(x, 0.5), mean_ci(x, 0.99)
    assert wider_low < low < x.mean() < high < wider_high


def test_chunks_do_not_shrink_the_number_of_resamples(monkeypatch):
    # Each part is as good as the whole, so only the order of the draws may differ.
    whole = mean_ci(scores(10))
    whole_table = stratified_bootstrap_ci(scores(5, 4))
    monkeypatch.setattr(statistics, "_CHUNK", 70)
    assert sum(statistics._chunks(1000, 10)) == 1000 and max(statistics._chunks(1000, 10)) == 7
    assert mean_ci(scores(10)) == pytest.approx(whole, rel=0.02)
    assert stratified_bootstrap_ci(scores(5, 4)) == pytest.approx(whole_table, rel=0.02)


def test_mean_interval_covers_the_truth():
    generator = np.random.default_rng(3)
    hits = 0
    for trial in range(400):
        low, high = mean_ci(generator.normal(1.0, 2.0, 25), samples=500, seed=trial)
        hits += low <= 1.0 <= high
    # 95 % nominal; the percentile bootstrap of 25 scores covers about 93 %, +- 1.3 % standard error.
    assert 0.89 <= hits / 400 <= 0.97


def test_stratified_interval_agrees_with_a_slow_loop():
    x = scores(6, 5)
    generator = np.random.default_rng(5)
    values = []
    for _ in range(4000):
        columns = [x[generator.integers(6, size=6), task] for task in range(5)]
        values.append(scipy.stats.trim_mean(np.concatenate(columns), 0.25))
    low, high = stratified_bootstrap_ci(x, samples=4000)
    np.testing.assert_allclose([low, high], np.percentile(values, [2.5, 97.5]), atol=0.03)


def test_runs_are_drawn_within_tasks_and_for_each_task_on_its_own():
    # Tasks differ, runs do not: nothing to draw, no spread.
    flat = np.tile([0.0, 5.0, 100.0], (4, 1))
    assert stratified_bootstrap_ci(flat, aggregate_mean) == (35.0, 35.0)
    # Two tasks cancel run by run; drawing them together would leave no spread.
    cancelling = np.array([[1.0, -1.0], [-1.0, 1.0], [3.0, -3.0], [-3.0, 3.0]])
    low, high = stratified_bootstrap_ci(cancelling, aggregate_mean)
    # The mean of 8 independent draws of variance 5: standard deviation 0.79.
    assert -1.8 < low < -1.3 and 1.3 < high < 1.8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_ci([]), "at least one score"),
        (lambda: mean_ci([[1.0]]), "dimension"),
        (lambda: mean_ci([1.0, np.nan]), "not finite"),
        (lambda: mean_ci([1.0, 2.0], confidence=95), "confidence"),
        (lambda: mean_ci([1.0, 2.0], samples=0), "samples"),
        (lambda: stratified_bootstrap_ci([1.0, 2.0]), "dimension"),
        (lambda: stratified_bootstrap_ci([[np.inf]]), "not finite"),
        (lambda: stratified_bootstrap_ci(np.ones((3, 2)), np.mean), "statistic must map"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(PWMError, match=message):
        call()
