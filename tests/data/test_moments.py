import tracemalloc

import numpy as np

from pwm.data.moments import divisors, moments
from pwm.data.store import open_store
from pwm.data.writer import StoreWriter


def test_an_observation_that_never_changes_is_not_blown_up(tmp_path):
    with StoreWriter(tmp_path) as writer:
        writer.add_task("one", 2, 1, 4, 1)
        writer.add_episode("one", np.full((5, 2), 7.0), np.zeros((4, 1)), np.zeros(4))
    mean, deviation = moments(open_store(tmp_path), "one", np.arange(1))
    assert mean.tolist() == [7.0, 7.0] and divisors(mean, deviation).tolist() == [0.01, 0.01]


def test_moments_of_long_episodes_need_little_memory(tmp_path):
    rows = 100.0 + np.random.default_rng(0).normal(size=(500_001, 8)).astype(np.float32) * np.float32(3.0)
    with StoreWriter(tmp_path) as writer:
        writer.add_task("one", 8, 1, 500_000, 1)
        for part in (rows, rows[:5] - 9):
            writer.add_episode("one", part, np.zeros((len(part) - 1, 1)), np.zeros(len(part) - 1))
    store = open_store(tmp_path)
    tracemalloc.start()
    mean, std = moments(store, "one", np.arange(2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6  # the observations take 16 MB, and three times that if they are copied whole
    everything = np.concatenate((rows, rows[:5] - 9)).astype(np.float64)
    np.testing.assert_allclose(mean, everything.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, everything.std(0, ddof=1), rtol=1e-5)


def test_small_deviations_are_no_constants():
    mean, deviation = np.array([0.0, 0.0, 1e4]), np.array([1e-6, 3.0, 1e-4])
    assert divisors(mean, deviation).tolist() == [1e-6, 3.0, np.spacing(np.float32(1e4)) * 1000.0]  # rounding of 1e4


def test_the_first_few_episodes_do_not_decide_what_is_small():
    """An entry that hardly moves in them may move later, unless everything is in small units."""
    zero = np.zeros(2)
    assert divisors(zero, np.array([1e-6, 3.0]), early=True).tolist() == [0.01, 3.0]
    np.testing.assert_allclose(divisors(zero, np.array([1e-9, 3e-6]), early=True), [3e-8, 3e-6])
