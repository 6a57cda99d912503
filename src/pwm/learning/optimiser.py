"""The optimiser of every learner: Adam in one fused pass, whose step size moves without a new CUDA graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def adam(groups: Iterable[Any], device: torch.device | str, rate: float, **options: Any) -> torch.optim.Adam:
    """Fused Adam over `groups` (of parameters, or {"params": ...}); on CUDA it can be recorded and its step size moves
    by `set_rate` without a new recording."""
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
