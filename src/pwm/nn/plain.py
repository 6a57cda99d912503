"""What surrounds the matrix products of a perceptron, forward and backward, as PyTorch operations.

Works on every device and number format; `nn/native/layers.py` is the same for float32 networks on CPUs, compiled.
`kept` is what a function's backward pass needs of its forward pass; without `keep` it is empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pwm.nn.activations import mish, mish_and_slope, simnorm, simnorm_backward

EPS = 1e-5  # PyTorch's own for LayerNorm
Kept = tuple[Tensor, ...]


def mish_norm(x: Tensor, bias: Tensor, dtype: torch.dtype, keep: bool) -> tuple[Tensor, Kept]:
    """A fleet's layer after its product: LayerNorm, without gain and shift, of Mish(x + bias).

    Args:
        x: the product [members, rows, n].
        bias: [members, 1, n].
        dtype: of the result [members, rows, n].
    """
    y, slope = mish_and_slope(x + bias) if keep else (mish(x + bias), None)
    ones, zeros = torch.ones_like(bias[0, 0]), torch.zeros_like(bias[0, 0])  # LayerNorm is slower without any
    normed, mean, inverse = torch.native_layer_norm(y, y.shape[-1:], ones, zeros, EPS)
    return normed.to(dtype), () if slope is None else (slope, y, mean, inverse)


def mish_norm_backward(grad: Tensor, kept: Kept, dtype: torch.dtype, bias_wanted: bool) -> tuple[Tensor, Tensor | None]:
    """From the gradient at the result of `mish_norm`: those at the product, in `dtype`, and at the bias, if wanted."""
    slope, y, mean, inverse = kept
    grad, _, _ = torch.ops.aten.native_layer_norm_backward(
        grad.to(y.dtype), y, y.shape[-1:], mean, inverse, None, None, [True, False, False]
    )
    grad.mul_(slope)
    return grad.to(dtype), grad.sum(dim=1, keepdim=True) if bias_wanted else None


def norm_act(
    x: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, group: int | None, dtype: torch.dtype, keep: bool
) -> tuple[Tensor, Kept]:
    """The world model's layer after its product: LayerNorm of x + bias, then Mish or, with a group, SimNorm.

    Args:
        x: the product [..., n].
        bias: [..., n], broadcast against x.
        gain, shift: [n], LayerNorm's.
        group: SimNorm's entries per group; None means Mish.
        dtype: of the result [..., n].
    """
    x = x + bias
    normed, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], gain, shift, EPS)
    if not keep:
        return (simnorm(normed, group) if group else mish(normed)).to(dtype), ()
    y, slope = (simnorm(normed, group), None) if group else mish_and_slope(normed)
    return y.to(dtype), (x, mean, inverse, gain, shift, y if slope is None else slope)


def norm_act_backward(
    grad: Tensor, kept: Kept, group: int | None, dtype: torch.dtype, bias: torch.Size | None, norm_wanted: bool
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """From the gradient at the result of `norm_act`: those at the product, in `dtype`, and at bias, gain and shift.

    Args:
        bias: the bias's shape, where its gradient is wanted.
        norm_wanted: whether those of gain and shift are.
    """
    x, mean, inverse, gain, shift, slope = kept
    grad = grad.to(x.dtype)
    grad = simnorm_backward(grad, slope, group) if group else grad * slope
    wanted = [True, norm_wanted, norm_wanted]
    grad, to_gain, to_shift = torch.ops.aten.native_layer_norm_backward(
        grad, x, x.shape[-1:], mean, inverse, gain, shift, wanted
    )
    to_bias = None if bias is None else grad.flatten(0, -2).sum(dim=0) if len(bias) == 1 else grad.sum_to_size(bias)
    return grad.to(dtype), to_bias, to_gain, to_shift


def fold(weight: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """LayerNorm's gain and shift taken into the layer that follows it.

    `(n * gain + shift) W + b = n (gain * W) + (shift W + b)`: the right side touches weights where the left one
    touches every row, forward and backward.

    Args:
        weight: [members, a, n].
        bias: [members, 1, n].
        gain, shift: [members, 1, a].
        dtype: of the folded weight.

    Returns:
        the folded weight and bias.
    """
    shifted = (shift.mT * weight).sum(dim=1, keepdim=True)  # a product of one row is slower
    return (gain.mT * weight).to(dtype), bias + shifted


def fold_backward(
    grad: Tensor, grad_bias: Tensor, weight: Tensor, gain: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of weight, gain and shift from those of the folded weight and bias; the bias's own is `grad_bias`."""
    grad = grad.to(weight.dtype)
    to_gain = (grad * weight).sum(dim=2, keepdim=True).mT
    to_shift = (grad_bias * weight).sum(dim=2, keepdim=True).mT
    return torch.addcmul(shift.mT * grad_bias, gain.mT, grad), to_gain, to_shift
