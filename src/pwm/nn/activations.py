"""Mish and SimNorm, written for speed on CPUs as well as GPUs; same values and gradients as the textbook forms."""

from __future__ import annotations

import torch
from torch import Tensor


class _Mish(torch.autograd.Function):
    """x * tanh(softplus(x)) with tanh(softplus(x)) = n / (n + 2), n = e^x (e^x + 2): one exponential, no logarithm.

    The derivative is formed in the forward pass, while its parts are in cache, and is the only tensor kept.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        u = x.clamp(max=20.0).exp_()
        n = torch.add(u, 2.0).mul_(u)
        t = torch.div(n, n + 2.0)
        if ctx.needs_input_grad[0]:
            sigmoid = u.div_(torch.add(u, 1.0))
            slope = torch.addcmul(torch.ones((), dtype=x.dtype, device=x.device), t, t, value=-1.0)
            ctx.save_for_backward(slope.mul_(sigmoid).mul_(x).add_(t))
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
    memory. `runtime` importers of foreign checkpoints permute accordingly.
    """
    return torch.softmax(x.unflatten(-1, (group, -1)), dim=-2).flatten(-2)
