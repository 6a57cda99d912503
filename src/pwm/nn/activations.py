"""Mish and SimNorm, written for speed on CPUs as well as GPUs; same values and gradients as the textbook forms.

The networks of this room write their backward passes out, so these are plain functions on tensors without a graph.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mish(x: Tensor) -> Tensor:
    """Mish activation (Misra 2019), x tanh(softplus(x)), any shape."""
    _, q = _mish_parts(x)
    return q.mul_(2.0).sub_(1.0).mul_(x)


def mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mish and its derivative, which is formed while its parts are in cache: all that a backward pass needs of x.

    With c and q as below the derivative is (2 q - 1) + 4 x q (1 - q) (1 - c).
    """
    c, q = _mish_parts(x)
    slope = torch.addcmul(q, q, q, value=-1.0)
    slope = torch.addcmul(slope, slope, c, value=-1.0, out=c).mul_(x)
    t = q.mul_(2.0).sub_(1.0)
    slope = torch.add(t, slope, alpha=4.0, out=slope)
    return t.mul_(x), slope


def _mish_parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """c = sigmoid(-x) and q = 1 / (1 + c^2): tanh(softplus(x)) = (1 - c^2) / (1 + c^2) = 2 q - 1.

    One exponential, no logarithm, no overflow.
    """
    c = torch.neg(x).sigmoid_()
    return c, torch.addcmul(torch.ones((), dtype=x.dtype, device=x.device), c, c).reciprocal_()


def simnorm(x: Tensor, group: int) -> Tensor:
    """SimNorm (paper Eq. 4): softmax inside groups of `group` entries of the last axis.

    The members of a group lie `x.shape[-1] // group` apart rather than side by side: the same map up to a fixed
    permutation of the units of the layer before it, and many times faster on CPUs, whose vector units then run along
    memory. Weights that come from elsewhere have to be permuted accordingly.
    """
    return torch.softmax(x.unflatten(-1, (group, -1)), dim=-2).flatten(-2)


def simnorm_backward(grad: Tensor, y: Tensor, group: int) -> Tensor:
    """The gradient at SimNorm's input, from the gradient at its output y."""
    shape = (group, y.shape[-1] // group)
    out = torch._softmax_backward_data(grad.unflatten(-1, shape), y.unflatten(-1, shape), -2, y.dtype)
    return out.flatten(-2)
