"""Interleaved timing on functions that take a known time by a clock that only they advance."""

import pytest
import torch

from benchmarks.harness import compare, matrix_peak


class World:
    """A clock, and functions that let it advance."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def clock(self):
        return self.now

    def takes(self, name, seconds):
        def function():
            self.calls.append(name)
            self.now += seconds(self.now) if callable(seconds) else seconds

        return function


def test_medians_and_ratio():
    world = World()
    result = compare(world.takes("a", 0.5), world.takes("b", 2.0), rounds=5, budget_s=1e9, clock=world.clock)
    assert (result.ours_s, result.reference_s, result.ratio, result.rounds) == (0.5, 2.0, 4.0, 5)
    assert result.ratio_low == result.ratio_high == 4.0


def test_turns_alternate_and_swap():
    world = World()
    compare(world.takes("a", 0.5), world.takes("b", 0.6), rounds=4, budget_s=1e9, clock=world.clock)
    assert "".join(world.calls) == "aabb" + "ab" + "ba" + "ab" + "ba"


def test_a_slow_machine_cancels_out():
    """Twice as slow from some moment on: the ratio does not move, separate timing would have been off."""
    world = World()

    def slowdown(t):
        return 2.0 if t > 20 else 1.0

    ours = world.takes("a", lambda t: 0.5 * slowdown(t))
    result = compare(ours, world.takes("b", lambda t: 1.5 * slowdown(t)), rounds=21, budget_s=1e9, clock=world.clock)
    assert result.ratio == pytest.approx(3.0)
    assert result.ratio_low == pytest.approx(3.0) and result.ratio_high == pytest.approx(3.0)


def test_spread_shows_noise():
    world, steps = World(), iter([1.0] * 2 + [1.0, 2.0, 1.0, 4.0, 1.0, 1.0, 1.0, 2.0])
    ours = world.takes("a", lambda _: next(steps))
    result = compare(ours, world.takes("b", 4.0), rounds=8, budget_s=1e9, clock=world.clock)
    assert result.ratio_low < result.ratio == 4.0 <= result.ratio_high


def test_the_budget_stops_it_but_not_before_two_rounds():
    world = World()
    result = compare(world.takes("a", 1.0), world.takes("b", 9.0), rounds=50, budget_s=65.0, clock=world.clock)
    assert (
        result.rounds == 5 and world.now == 10 + 50
    )  # one warm-up of each, as both take a second, then rounds of 10 s
    assert compare(world.takes("a", 1.0), world.takes("b", 9.0), budget_s=1.0, clock=world.clock).rounds == 2


def test_short_functions_are_repeated():
    world = World()
    result = compare(world.takes("a", 0.001), world.takes("b", 0.5), rounds=2, budget_s=1e9, clock=world.clock)
    assert world.calls.count("a") == 2 + 2 * 10 and world.calls.count("b") == 2 + 2
    assert result.ours_s == pytest.approx(0.001)


def test_the_reference_can_stand_for_many():
    world = World()
    result = compare(world.takes("a", 2.0), world.takes("b", 1.0), rounds=2, reference_runs=8, clock=world.clock)
    assert (result.reference_s, result.ratio) == (8.0, 4.0)


def test_matrix_peak_is_measured_once(monkeypatch):
    matrix_peak.cache_clear()
    products, real = [], torch.mm

    def small(a, b, out=None):  # processors without AVX-512 come here for all products
        products.append(a.shape[0])
        return real(a[:64, :64], b[:64, :64])

    monkeypatch.setattr(torch, "mm", small)
    first = matrix_peak("cpu", torch.float32, 1)
    assert first > 0 and set(products) <= {512, 1024, 2048}
    done = len(products)
    assert matrix_peak("cpu", torch.float32, 1) == first and len(products) == done
    matrix_peak.cache_clear()
