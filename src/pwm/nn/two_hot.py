"""Two-hot coding of scalars in symlog space (paper, Appendix C item 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog`: sign(x) (e^|x| - 1)."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


@dataclass(frozen=True)
class TwoHot:
    """A grid of `bins` points from `low` to `high` in symlog space."""

    bins: int = 101
    low: float = -10.0
    high: float = 10.0

    @property
    def width(self) -> float:
        """Distance between neighbouring bins."""
        return (self.high - self.low) / (self.bins - 1)

    def grid(self, like: Tensor) -> Tensor:
        """Bin positions [bins] with the dtype and device of `like`."""
        return torch.linspace(self.low, self.high, self.bins, dtype=like.dtype, device=like.device)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Lower bin index [...] (int64) and the weight [...] of the bin above it, for raw scalars x [...]."""
        position = (symlog(x).clamp(self.low, self.high) - self.low) / self.width
        lower = position.floor().clamp(0, self.bins - 2)
        return lower.long(), position - lower

    def encode(self, x: Tensor) -> Tensor:
        """Target distribution [..., bins] of raw scalars x [...]; at most two entries are not zero."""
        lower, weight = self.split(x)
        out = torch.zeros(*x.shape, self.bins, dtype=x.dtype, device=x.device)
        out.scatter_(-1, lower.unsqueeze(-1), (1.0 - weight).unsqueeze(-1))
        return out.scatter_(-1, lower.unsqueeze(-1) + 1, weight.unsqueeze(-1))

    def cross_entropy(self, logits: Tensor, x: Tensor) -> Tensor:
        """Cross-entropy [...] of logits [..., bins] against the two-hot code of raw scalars x [...]."""
        lower, weight = self.split(x)
        pair = torch.stack((lower, lower + 1), dim=-1)
        picked = logits.gather(-1, pair)
        expected = torch.lerp(picked[..., 0], picked[..., 1], weight)
        return torch.logsumexp(logits, dim=-1) - expected

    def decode(self, logits: Tensor, space: str = "true") -> Tensor:
        """Scalar [...] from logits [..., bins].

        `space="symlog"` leaves out the final symexp (the paper's pseudo-reward), `"true"` applies it.
        """
        value = torch.softmax(logits, dim=-1) @ self.grid(logits)
        return value if space == "symlog" else symexp(value)
