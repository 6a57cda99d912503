"""The functions of `nn/plain.py` as compiled kernels: same arguments, results and gradients, one pass over memory each.

For float32 networks on CPUs, with products in float32 or bfloat16. Backward passes recompute activations from the
products, to keep less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pwm.nn.native.build import BLOCK, kernels
from pwm.nn.native.calls import KINDS, library_for, served, threads_for

_WIDEST = 4096  # entries of a row; a kernel has up to thirteen rows on its stack
Kept = tuple[Tensor, ...]


def usable(biases: Sequence[Tensor]) -> bool:
    """Whether the kernels support layers with these biases."""
    for bias in biases:
        if not served(bias) or bias.dtype != torch.float32 or bias.shape[-1] > _WIDEST:
            return False
    return kernels() is not None


def mish_norm(x: Tensor, bias: Tensor, dtype: torch.dtype, keep: bool) -> tuple[Tensor, Kept]:
    """See `plain.mish_norm`."""
    members, rows, n = x.shape
    x, bias = x.contiguous(), bias.contiguous()
    out = x.new_empty(x.shape, dtype=dtype)
    stats = bias.new_empty(2, members * rows) if keep else None
    library_for(x).mish_norm(
        x.data_ptr(), KINDS[x.dtype], bias.data_ptr(), members, rows, n, out.data_ptr(), KINDS[dtype],
        *_stats(stats), threads_for(x.numel()),
    )  # fmt: skip
    return out, (x, bias, stats) if stats is not None else ()


def mish_norm_backward(grad: Tensor, kept: Kept, dtype: torch.dtype, bias_wanted: bool) -> tuple[Tensor, Tensor | None]:
    """See `plain.mish_norm_backward`."""
    x, bias, stats = kept
    members, rows, n = x.shape
    grad = grad.contiguous()
    low = x.new_empty(x.shape, dtype=dtype)
    to_bias = bias.new_empty(members, 1, n) if bias_wanted else None
    share = bias.new_empty(members, -(-rows // BLOCK), n) if bias_wanted else None
    library_for(x).mish_norm_backward(
        grad.data_ptr(), KINDS[grad.dtype], x.data_ptr(), KINDS[x.dtype], bias.data_ptr(), *_stats(stats),
        members, rows, n, low.data_ptr(), KINDS[dtype], _place(to_bias), _place(share), threads_for(x.numel()),
    )  # fmt: skip
    return low, to_bias


def norm_act(
    x: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, group: int | None, dtype: torch.dtype, keep: bool
) -> tuple[Tensor, Kept]:
    """See `plain.norm_act`."""
    n = x.shape[-1]
    rows = x.numel() // n
    x, (bias, inner, outer) = x.contiguous(), _repeating(bias, x)
    gain, shift = gain.contiguous(), shift.contiguous()
    out = x.new_empty(x.shape, dtype=dtype)
    stats = gain.new_empty(2, rows) if keep else None
    library_for(x).norm_act(
        x.data_ptr(), KINDS[x.dtype], bias.data_ptr(), inner, outer, gain.data_ptr(), shift.data_ptr(), group or 0,
        rows, n, out.data_ptr(), KINDS[dtype], *_stats(stats), threads_for(x.numel()),
    )  # fmt: skip
    return out, (x, bias, stats, gain, shift) if stats is not None else ()


def norm_act_backward(
    grad: Tensor, kept: Kept, group: int | None, dtype: torch.dtype, bias: torch.Size | None, norm_wanted: bool
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """See `plain.norm_act_backward`."""
    x, biases, stats, gain, shift = kept
    n = x.shape[-1]
    rows = x.numel() // n
    grad, (_, inner, outer) = grad.contiguous(), _repeating(biases, x)
    low = x.new_empty(x.shape, dtype=dtype)
    one_bias = bias is not None and math.prod(bias) == n
    plain = gain.new_empty(x.shape) if bias is not None and not one_bias else None
    sums = gain.new_empty(3, n) if norm_wanted or one_bias else None
    share = gain.new_empty(-(-rows // BLOCK), 3, n) if sums is not None else None
    library_for(x).norm_act_backward(
        grad.data_ptr(), KINDS[grad.dtype], x.data_ptr(), KINDS[x.dtype], biases.data_ptr(), inner, outer,
        gain.data_ptr(), shift.data_ptr(), group or 0, *_stats(stats), rows, n, low.data_ptr(), KINDS[dtype],
        _place(plain), _place(sums), _place(share), threads_for(x.numel()),
    )  # fmt: skip
    to_gain, to_shift, to_bias = sums if sums is not None else (None, None, None)
    if bias is not None:
        to_bias = to_bias.view(bias) if plain is None else plain.sum_to_size(bias)
    return low, to_bias if bias is not None else None, to_gain, to_shift


def fold(weight: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """See `plain.fold`."""
    members, a, n = weight.shape
    weight, bias, gain, shift = (x.contiguous() for x in (weight, bias, gain, shift))
    out, to_bias = weight.new_empty(weight.shape, dtype=dtype), bias.new_empty(bias.shape)
    library_for(weight).fold(
        weight.data_ptr(), gain.data_ptr(), shift.data_ptr(), bias.data_ptr(), members, a, n,
        out.data_ptr(), KINDS[dtype], to_bias.data_ptr(), threads_for(weight.numel()),
    )  # fmt: skip
    return out, to_bias


def fold_backward(
    grad: Tensor, grad_bias: Tensor, weight: Tensor, gain: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """See `plain.fold_backward`."""
    members, a, n = weight.shape
    grad, grad_bias, weight, gain, shift = (x.contiguous() for x in (grad, grad_bias, weight, gain, shift))
    to_weight = torch.empty_like(weight)
    to_gain, to_shift = weight.new_empty(2, members, 1, a)
    library_for(weight).fold_backward(
        grad.data_ptr(), KINDS[grad.dtype], grad_bias.data_ptr(), weight.data_ptr(), gain.data_ptr(),
        shift.data_ptr(), members, a, n, to_weight.data_ptr(), to_gain.data_ptr(), to_shift.data_ptr(),
        threads_for(weight.numel()),
    )  # fmt: skip
    return to_weight, to_gain, to_shift


def _place(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _stats(stats: Tensor | None) -> tuple[int | None, int | None]:
    """Addresses of mean and inverse deviation of the rows in [2, rows]."""
    if stats is None:
        return None, None
    first = stats.data_ptr()
    return first, first + 4 * stats.shape[1]


def _repeating(bias: Tensor, x: Tensor) -> tuple[Tensor, int, int]:
    """A contiguous bias, and (outer, inner): row i of x uses its row `i // inner % outer`.

    A bias that is broadcast in other ways than over leading and trailing axes is expanded.
    """
    lead = (1,) * (x.ndim - bias.ndim) + tuple(bias.shape[:-1])
    own = [d for d, size in enumerate(lead) if size != 1]
    if not own:
        return bias.contiguous(), 1, 1
    first, last = own[0], own[-1]
    if lead[first : last + 1] != tuple(x.shape[first : last + 1]):
        bias, first, last = bias.expand(x.shape), 0, x.ndim - 2
    return bias.contiguous(), math.prod(x.shape[last + 1 : -1]), math.prod(x.shape[first : last + 1])
