"""Mish and SimNorm, written for speed on CPUs as well as GPUs; same values and gradients as the textbook forms."""

from __future__ import annotations

import torch
from torch import Tensor


class _Mish(torch.autograd.Function):
    """x * tanh(softplus(x)) by way of c = sigmoid(-x): tanh(softplus(x)) = (1 - c^2) / (1 + c^2) = 2 q - 1.

    With q = 1 / (1 + c^2) the derivative is (2 q - 1) + 4 x q (1 - q) (1 - c). One exponential, no logarithm, no
    overflow. The derivative is formed in the forward pass, while its parts are in cache, and is the only tensor kept.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        c = torch.neg(x).sigmoid_()
        q = torch.addcmul(torch.ones((), dtype=x.dtype, device=x.device), c, c).reciprocal_()
        if not ctx.needs_input_grad[0]:
            return q.mul_(2.0).sub_(1.0).mul_(x)
        slope = torch.addcmul(q, q, q, value=-1.0)
        slope = torch.addcmul(slope, slope, c, value=-1.0, out=c).mul_(x)
        t = q.mul_(2.0).sub_(1.0)
        ctx.save_for_backward(slope.mul_(4.0).add_(t))
        return t.mul_(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return grad * slope


def mish(x: Tensor) -> Tensor:
    """Mish activation (Misra 2019), any shape."""
    return _Mish.apply(x)


def simnorm(x: Tensor, group: int) -> Tensor:
    """SimNorm (paper Eq. 4): softmax inside groups of `group` entries of the last axis.

    The members of a group lie `x.shape[-1] // group` apart rather than side by side: the same map up to a fixed
    permutation of the units of the layer before it, and many times faster on CPUs, whose vector units then run along
    memory. Weights that come from elsewhere have to be permuted accordingly.
    """
    return torch.softmax(x.unflatten(-1, (group, -1)), dim=-2).flatten(-2)
