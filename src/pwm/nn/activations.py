"""Mish and SimNorm, written for speed on CPUs and GPUs, with the values and gradients of the textbook forms.

Networks have explicit backward passes, so these are plain functions without autograd.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mish(x: Tensor) -> Tensor:
    """Mish activation (Misra 2019), x tanh(softplus(x)), any shape."""
    return _tanh_softplus(x)[0].mul_(x)


def mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mish and its derivative, which is all that a backward pass needs of x.

    With y = x t, the derivative is t + x (1 - t^2) (1 - c) = t + (x - y t) (1 - c), t and c as below.
    """
    t, c = _tanh_softplus(x)
    y = x * t
    rest = torch.addcmul(x, y, t, value=-1.0)
    return y, t.add_(torch.addcmul(rest, rest, c, value=-1.0, out=rest))


def _tanh_softplus(x: Tensor) -> tuple[Tensor, Tensor]:
    """t = tanh(softplus(x)) = (1 - c^2) / (1 + c^2) = 1 / (1/2 + c^2 / 2) - 1, and c = sigmoid(-x).

    One exponential, no logarithm, no overflow.
    """
    c = torch.neg(x).sigmoid_()
    half = torch.full((), 0.5, dtype=x.dtype, device=x.device)
    return torch.addcmul(half, c, c, value=0.5).reciprocal_().sub_(1.0), c


def simnorm(x: Tensor, group: int) -> Tensor:
    """SimNorm (paper Eq. 4): softmax within groups of `group` entries of the last axis.

    The members of a group are `x.shape[-1] // group` apart and not adjacent. This is the same up to a permutation of
    the units of the previous layer, and many times faster on CPUs, since it vectorises along contiguous memory. Weights
    from other code must be permuted accordingly.
    """
    return torch.softmax(x.reshape(*x.shape[:-1], group, -1), dim=-2).reshape(x.shape)


def simnorm_backward(grad: Tensor, y: Tensor, group: int) -> Tensor:
    """The gradient at SimNorm's input, from the gradient at its output y."""
    shape = (group, y.shape[-1] // group)
    out = torch._softmax_backward_data(grad.unflatten(-1, shape), y.unflatten(-1, shape), -2, y.dtype)
    return out.flatten(-2)
