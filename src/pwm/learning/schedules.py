"""Optimiser pieces for fleets: learning-rate decay, parameter averages, running scale of returns."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def linear_decay(start: float, end: float, step: int, total: int) -> float:
    """The step size of update `step` (from 0) of `total`, decayed linearly from `start` to `end`."""
    return start + (end - start) * min(step / max(total - 1, 1), 1.0)


@torch.no_grad()
def average_into(average: Iterable[Tensor], current: Iterable[Tensor], decay: float) -> None:
    """average <- decay * average + (1 - decay) * current, in place."""
    torch._foreach_lerp_(list(average), [p.detach() for p in current], 1.0 - decay)


class ReturnScale:
    """Running standard deviation of each member's imagined returns.

    Args:
        members: number of members.
        kind: "exponential" (bias-corrected moving moments), "cumulative" (all returns so far) or "none" (ones).
        decay: of the moving moments.
    """

    def __init__(self, members: int, kind: str, decay: float, device: torch.device | str = "cpu") -> None:
        self.kind, self.decay = kind, decay
        self.moments = torch.zeros(3, members, dtype=torch.float64, device=device)
        """weight, weighted mean and weighted mean square of the returns"""

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Update with a batch of returns [members, batch]."""
        if self.kind == "none":
            return
        x = returns.double()
        batch = torch.stack((torch.ones_like(x[:, 0]), x.mean(dim=1), x.square().mean(dim=1)))
        if self.kind == "exponential":
            self.moments.lerp_(batch, 1.0 - self.decay)
        else:
            self.moments += batch

    @torch.no_grad()
    def std(self) -> Tensor:
        """The divisor [members] (float32): never below 1e-3, and 1 before the first batch."""
        weight, mean, square = self.moments
        if self.kind == "none":
            return torch.ones_like(weight, dtype=torch.float32)
        variance = square / weight.clamp(min=1e-12) - (mean / weight.clamp(min=1e-12)) ** 2
        std = variance.clamp(min=1e-6).sqrt()
        return torch.where(weight > 0, std, torch.ones_like(std)).float()
