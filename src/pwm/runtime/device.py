"""Devices, and the number of CPU threads."""

from __future__ import annotations

import ctypes

import torch

from pwm.runtime.config import require
from pwm.runtime.errors import PWMError
from pwm.runtime.ranges import THREADS


def resolve_device(name: str) -> torch.device:
    """The device called `name`: "cpu", "cuda", "cuda:1", ..., or "auto" for CUDA if available and the CPU otherwise.

    Raises:
        PWMError: the name is invalid, or CUDA or that GPU is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PWMError(f"device {name!r}: unknown; use auto, cpu, cuda or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise PWMError(f"device {name!r}: not supported; use auto, cpu, cuda or cuda:0")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            cure = "use cpu or auto, or check driver and torch build"
            raise PWMError(f"device {name!r}: PyTorch finds no CUDA GPU; {cure}")
        if (device.index or 0) >= torch.cuda.device_count():
            raise PWMError(f"device {name!r}: there are only {torch.cuda.device_count()} GPUs, counted from cuda:0")
    return device


def set_threads(count: int | None) -> int:
    """Set the number of CPU threads that PyTorch uses (None: its default); returns the number in use.

    Raises PWMError if the count is out of its range.
    """
    if count is not None:
        require(count in THREADS, "threads", count, str(THREADS))
        torch.set_num_threads(count)
    return torch.get_num_threads()


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for reuse instead of returning it to the kernel.

    Training steps become about a quarter faster. Affects the whole process, so only programs should call it.
    """
    mmap_threshold, trim_threshold = -3, -1  # from malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
    except (OSError, AttributeError, TypeError):
        pass
