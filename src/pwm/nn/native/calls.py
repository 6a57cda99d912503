"""What every call of a compiled kernel needs: number formats, the library, threads, and which tensors are supported."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pwm.nn.native.build import kernels

KINDS = {torch.float32: 0, torch.bfloat16: 1}
_GRAIN = 16384  # entries from which a second thread pays off
_device = "cpu"  # the device type that the kernels are used for


def served(x: Tensor) -> bool:
    """Whether x is on a device that the kernels support: a CPU, or the meta device in a rehearsal of a CPU."""
    return x.device.type == _device


@contextlib.contextmanager
def rehearsal(device: torch.device | str) -> Iterator[None]:
    """Treat tensors on the meta device as if they were on this device, so that the same tensors are allocated."""
    global _device
    before, _device = _device, "meta" if torch.device(device).type == "cpu" else _device
    try:
        yield
    finally:
        _device = before


class _Nothing:
    """Replaces the kernels for meta tensors, in a rehearsal that counts bytes."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def library_for(x: Tensor) -> Any:
    """The kernels, or for meta tensors a stand-in that does nothing."""
    return kernels() if x.device.type == "cpu" else _Nothing()


def threads_for(entries: int) -> int:
    """Number of threads for this many entries: one if waking another costs more than it saves."""
    return torch.get_num_threads() if entries >= _GRAIN else 1
