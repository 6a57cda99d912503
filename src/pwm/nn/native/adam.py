"""Gradient clipping and a step of Adam in one call of `kernels.c`."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pwm.nn.native.build import CHUNK, kernels
from pwm.nn.native.calls import KINDS, threads_for


def clip_adam(
    parameters: Sequence[Tensor],
    grads: Sequence[Tensor],
    states: Sequence[Mapping[str, Tensor]],
    rates: Sequence[float],
    members: int,
    max_norm: float,
    betas: tuple[float, float],
    eps: float,
) -> Tensor:
    """Step parameters and Adam's states in place; returns each member's norm before clipping [members].

    Args:
        parameters, states: contiguous float32 tensors on the CPU, whose leading axis is [members * k].
        grads: float32 or bfloat16, contiguous.
        rates: step size of each parameter.
    """
    count, sizes = len(parameters), [p.numel() // members for p in parameters]
    moments, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
    p, g, m, v, counters = (
        (ctypes.c_void_p * count)(*(x.data_ptr() for x in column))
        for column in (parameters, grads, moments, squares, steps)
    )
    kinds = (ctypes.c_int * count)(*(KINDS[grad.dtype] for grad in grads))
    norms = torch.empty(members, dtype=torch.float32, device="cpu")
    chunks = members * sum(-(-size // CHUNK) for size in sizes)
    scratch = torch.empty(chunks, dtype=torch.float64, device="cpu")
    kernels().clip_adam(
        count, (ctypes.c_int64 * count)(*sizes), p, g, kinds, m, v, (ctypes.c_float * count)(*rates), counters,
        members, max_norm, *betas, eps, norms.data_ptr(), scratch.data_ptr(), threads_for(members * sum(sizes)),
    )  # fmt: skip
    return norms
