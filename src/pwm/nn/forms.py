"""Which of the two forms of a layer's arithmetic serves a tensor: compiled kernels or PyTorch operations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import ModuleType

import torch
from torch import Tensor

from pwm.nn import plain
from pwm.nn.native import layers as native

_served = "cpu"  # the kind of device whose tensors the kernels serve


def form_for(biases: Sequence[Tensor]) -> ModuleType:
    """`nn/native/layers.py` where its kernels can serve a network with these biases, else `nn/plain.py`."""
    return native if native.usable(biases, _served) else plain


def served(x: Tensor) -> bool:
    """Whether x lives where the kernels could serve it: on a CPU, or where a CPU is rehearsed."""
    return x.device.type == _served


@contextlib.contextmanager
def rehearsal(device: torch.device | str) -> Iterator[None]:
    """Let tensors on the meta device go the way that this device's would go, so that the same ones are made."""
    global _served
    before, _served = _served, "meta" if torch.device(device).type == "cpu" else _served
    try:
        yield
    finally:
        _served = before
