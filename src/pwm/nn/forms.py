"""Chooses between the two implementations of a layer: compiled kernels or PyTorch operations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import ModuleType

import torch
from torch import Tensor

from pwm.nn import plain
from pwm.nn.native import layers as native

_served = "cpu"  # the device type that the kernels are used for


def form_for(biases: Sequence[Tensor]) -> ModuleType:
    """`nn/native/layers.py` if its kernels support a network with these biases, else `nn/plain.py`."""
    return native if native.usable(biases, _served) else plain


def served(x: Tensor) -> bool:
    """Whether x is on a device that the kernels support: a CPU, or the meta device in a rehearsal of a CPU."""
    return x.device.type == _served


@contextlib.contextmanager
def rehearsal(device: torch.device | str) -> Iterator[None]:
    """Treat tensors on the meta device as if they were on this device, so that the same tensors are allocated."""
    global _served
    before, _served = _served, "meta" if torch.device(device).type == "cpu" else _served
    try:
        yield
    finally:
        _served = before
