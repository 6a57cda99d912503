"""Estimates from small samples, against straight lines known beforehand."""

import pytest

from pwm.runtime import estimate
from pwm.runtime.estimate import at, describe, largest, timed


def test_a_straight_line_is_continued():
    points = [(8, 1.0), (16, 3.0 + 8.0), (32, 3.0 + 16.0)]  # 3 + n / 2, but for the first, which does not count
    assert at(points, 1024) == 3.0 + 512
    assert at(points, 32) == 19.0
    assert at([(4, 2.0)], 10) == 5.0
    assert at([(8, 2.0), (16, 1.5)], 64) == 1.5  # noise never makes more work cheaper
    assert describe(points, "slices") == "16 slices: 11 s, 32 slices: 19 s"


@pytest.mark.parametrize(("limit", "most"), [(100.0, 45), (10.0, 0), (12.0, 1), (14.0, 2), (9.0, 0)])
def test_the_largest_that_fits(limit, most):
    points = [(1, 12.0), (2, 14.0)]  # 10 + 2 n
    assert largest(points, limit) == most


def test_sizes_double_until_a_call_is_long_or_all_is_measured(monkeypatch):
    calls = []
    monkeypatch.setattr(estimate, "_seconds", lambda work, device: work())
    points = timed(lambda n: lambda: calls.append(n) or 0.1 * n, 100, "cpu", start=2)
    assert points == [(2, 0.2), (4, 0.4), (8, 0.8)]
    assert calls == [2] * 4 + [4] * 4 + [8] * 4  # one to warm up, three that count
    assert timed(lambda n: lambda: 1e-3, 5, "cpu", start=2) == [(2, 1e-3), (4, 1e-3), (5, 1e-3)]
    assert timed(lambda n: lambda: 9.0 * n, 100, "cpu", start=1) == [(1, 9.0), (2, 18.0)]  # two make a line
    assert timed(lambda n: lambda: 9.0, 1, "cpu", start=8) == [(1, 9.0)]
