"""The two shapes that the custom rewards are made of, in terms of the suite's own `tolerance`."""

from __future__ import annotations

from dm_control.utils.rewards import tolerance

INFINITY = float("inf")


def linear(x: float, low: float, high: float, margin: float, value_at_margin: float) -> float:
    """1 in [low, high], `value_at_margin` at the distance `margin` from it, on a straight line down to 0."""
    return float(tolerance(float(x), (low, high), margin, "linear", value_at_margin))


def tall(height: float) -> float:
    """1 from 1.2 m up, with a Gaussian flank below it that has come down to 0.1 at 0.6 m."""
    return float(tolerance(float(height), (1.2, INFINITY), margin=0.6))
