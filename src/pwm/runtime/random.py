"""Counter-based random numbers: every draw is a pure function of (key, counter), on any device.

There is no generator state to save, and each member of a batch of learners sees the same numbers as it would alone.
The mixing function is SplitMix64's finaliser (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX2 = 0x94D049BB133111EB - (1 << 64)


def key_of(*parts: int | str) -> int:
    """A 63-bit key from integers and strings; the same on every machine."""
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def _signed(x: int) -> int:
    """The int64 with the same low 64 bits."""
    return (x + (1 << 63)) % (1 << 64) - (1 << 63)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64 finaliser on int64 (wrap-around products, logical shifts)."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _MIX1
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _MIX2
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def uniform(keys: Tensor, counter: int | Tensor, shape: Sequence[int], fine: bool = False) -> Tensor:
    """Uniform numbers in (0, 1), float32 [N, *shape], for keys [N] (int64) and a counter (the number of the draw).

    They take 2^23 different values, all multiples of 2^-24. With `fine` they are float64 with 2^52 different values,
    whose leading 23 bits are the same.
    """
    step = counter * _GOLDEN if isinstance(counter, Tensor) else _signed(counter * _GOLDEN)
    stream = _mix(_mix(keys + step) ^ keys)
    index = torch.arange(math.prod(shape), device=keys.device, dtype=torch.int64)
    bits = _mix(stream[:, None] + (index + 1)[None] * _GOLDEN)
    count, dtype = (52, torch.float64) if fine else (23, torch.float32)
    leading = (bits >> (64 - count)) & ((1 << count) - 1)
    return (leading.to(dtype) + 0.5).mul_(2.0**-count).view(len(keys), *shape)


def normal(keys: Tensor, counter: int | Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, float32 [N, *shape] (Box-Muller on `uniform`)."""
    u = uniform(keys, counter, (2, *shape))
    return torch.sqrt(-2.0 * torch.log(u[:, 0])) * torch.cos(2.0 * math.pi * u[:, 1])
