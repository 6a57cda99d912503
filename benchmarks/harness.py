"""Interleaved A/B timing, and the matrix-product peak that shares are measured against."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pwm.nn.products import Factor, product

Clock = Callable[[], float]
_SHORT = 0.01  # seconds; functions faster than this are called several times per round


@dataclass(frozen=True)
class Comparison:
    """Two functions timed in turns; medians over rounds, seconds per call."""

    ours_s: float
    reference_s: float
    ratio: float
    """reference_s / ours_s: how many times faster ours is."""
    ratio_low: float
    """Lower quartile of the rounds' own ratios."""
    ratio_high: float
    """Upper quartile of the rounds' own ratios."""
    rounds: int


def compare(
    ours: Callable[[], object],
    reference: Callable[[], object],
    device: torch.device | str = "cpu",
    rounds: int = 20,
    budget_s: float = 60.0,
    reference_runs: int = 1,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Time two functions against each other in one process, so that a noisy machine slows both alike.

    Each is warmed up twice (once, where that takes a second or more); then come up to `rounds` rounds, each timing one
    after the other, and the order changes from round to round. Rounds stop when `budget_s` would be passed, but there
    are at least two.

    Args:
        reference_runs: how many times the reference would have to run to do the same work; its time is multiplied.
    """
    start = clock()
    calls = [_warm_up(function, device, clock) for function in (ours, reference)]
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            times[which].append(_time((ours, reference)[which], calls[which], device, clock))
        elapsed = clock() - start
        round_s = sum(calls[which] * times[which][-1] for which in (0, 1))
        if i > 0 and elapsed + round_s > budget_s:
            break
    each = [reference_runs * b / a for a, b in zip(*times, strict=True)]
    low, _, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    ours_s, reference_s = statistics.median(times[0]), reference_runs * statistics.median(times[1])
    return Comparison(ours_s, reference_s, reference_s / ours_s, low, high, len(each))


def seconds(function: Callable[[], object], device: torch.device | str = "cpu", clock: Clock = time.perf_counter):
    """Wall-clock seconds of one call."""
    return _time(function, 1, device, clock)


def _warm_up(function: Callable[[], object], device: torch.device | str, clock: Clock) -> int:
    """Run a function until it is warm; returns how many calls make a round."""
    took = _time(function, 1, device, clock)
    if took < 1.0:
        took = _time(function, 1, device, clock)
    return max(1, math.ceil(_SHORT / max(took, 1e-6))) if took < _SHORT else 1


def _time(function: Callable[[], object], calls: int, device: torch.device | str, clock: Clock) -> float:
    _synchronise(device)
    start = clock()
    for _ in range(calls):
        function()
    _synchronise(device)
    return (clock() - start) / calls


def _synchronise(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@functools.cache
def matrix_peak(device: str, dtype: torch.dtype, threads: int) -> float:
    """FLOP/s of the best square matrix product: 2048^3 or the largest that takes under a second (8192^3 on CUDA).

    The better of PyTorch's own and the library's. `threads` is the number in use: results are remembered per number.
    """
    best = 0.0
    for size in (512, 1024, 2048) if torch.device(device).type == "cpu" else (2048, 4096, 8192):
        flops = 2.0 * size**3
        if best and flops / best > 1.0:
            break
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty(size, size, device=device, dtype=dtype)
        factor = Factor(b, "bfloat16" if dtype == torch.bfloat16 else "float32")
        ways = functools.partial(torch.mm, a, b, out=out), functools.partial(product, a, b), lambda: factor.times(a)  # noqa: B023
        best = max(best, *(flops / seconds(way, device) for way in ways for _ in range(4)))
    return best
