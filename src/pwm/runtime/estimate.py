"""Estimates time and memory of long computations from small samples, by linear extrapolation in their size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pwm.runtime.progress import clock

Point = tuple[int, float]
"""A size (slices, policies) and the seconds or bytes measured at it."""
_LONG_ENOUGH = 0.7  # seconds per call beyond which no larger size is tried


@dataclass(frozen=True)
class Estimate:
    """Estimated time and memory of a step of a run on this machine."""

    seconds: float  # of the updates, without reading data, checkpoints and measurements
    peak_bytes: int  # of all tensors, without the program and its libraries
    measured: str  # what the estimate is based on, in words

    def __str__(self) -> str:
        days = f"{self.seconds / 86400:.1f} days" if self.seconds > 2 * 86400 else clock(self.seconds)
        return f"{days} of updates, tensors of {self.peak_bytes / 2**30:.2g} GiB at the worst moment"


def timed(
    make: Callable[[int], Callable[[], object]], size: int, device: torch.device | str, start: int
) -> list[Point]:
    """Seconds per call of `make(n)`, for n doubling from `start` until a call takes long enough or n is `size`.
    Each is the median of three calls after one to warm up."""
    points: list[Point] = []
    n = min(start, size)
    while True:
        work = make(n)
        _seconds(work, device)
        points.append((n, statistics.median(_seconds(work, device) for _ in range(3))))
        if n == size or (len(points) > 1 and points[-1][1] > _LONG_ENOUGH):
            return points
        n = min(2 * n, size)


def at(points: list[Point], size: int) -> float:
    """The value at `size` by linear extrapolation from the last two points (never decreasing), or in proportion to
    size if there is one point."""
    n, value = points[-1]
    if n == size:
        return value
    if len(points) == 1:
        return value * size / n
    before, less = points[-2]
    return value + max(value - less, 0.0) / (n - before) * (size - n)


def largest(points: list[Point], limit: float) -> int:
    """The largest size whose value, on the line through the last two points, is at most `limit`; 0 if there is none."""
    (before, less), (n, value) = points[-2:]
    slope = max((value - less) / (n - before), 1e-12)
    return max(int((limit - (value - slope * n)) / slope), 0)


def describe(points: list[Point], unit: str) -> str:
    """The last points in words."""
    return ", ".join(f"{n} {unit}: {seconds:.3g} s" for n, seconds in points[-2:])


def _seconds(work: Callable[[], object], device: torch.device | str) -> float:
    _wait(device)
    begin = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
