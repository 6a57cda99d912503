"""The two shaping functions of the custom rewards, built on the suite's `tolerance`."""

from __future__ import annotations

from dm_control.utils.rewards import tolerance

INFINITY = float("inf")


def linear(x: float, low: float, high: float, margin: float, value_at_margin: float) -> float:
    """1 in [low, high], falling linearly to 0 outside, with `value_at_margin` at the distance `margin`."""
    return float(tolerance(float(x), (low, high), margin, "linear", value_at_margin))


def tall(height: float) -> float:
    """1 from 1.2 m up, falling as a Gaussian below, with 0.1 at 0.6 m."""
    return float(tolerance(float(height), (1.2, INFINITY), margin=0.6))
