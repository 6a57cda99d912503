"""The optimiser of all learners: fused Adam, whose step size can change without recording a new CUDA graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def adam(groups: Iterable[Any], device: torch.device | str, rate: float, **options: Any) -> torch.optim.Adam:
    """Fused Adam over `groups` (parameters, or {"params": ...}). On CUDA it can be recorded in a graph, and `set_rate`
    changes its step size without a new recording."""
    listed = list(groups)
    cuda = torch.device(device).type == "cuda"
    named = listed if listed and isinstance(listed[0], dict) else [{"params": listed}]
    if cuda:  # a tensor of its own for each group
        named = [group | {"lr": torch.tensor(rate, device=device)} for group in named]
    return torch.optim.Adam(named, lr=rate, fused=True, capturable=cuda, **options)


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the step size of one of an optimiser's `param_groups`."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
