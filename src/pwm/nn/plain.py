"""What lies between the matrix products of a perceptron, forward and backward, as PyTorch operations.

Works on every device and in every number format; `nn/native/layers.py` has compiled kernels for float32 networks on
CPUs. `kept` holds what the backward pass needs of the forward pass; it is empty without `keep`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pwm.nn.activations import mish, mish_and_slope, simnorm, simnorm_backward

EPS = 1e-5  # PyTorch's default for LayerNorm
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
    """Gradients of the product, in `dtype`, and if wanted of the bias, from that of the result of `mish_norm`."""
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
    """Gradients of the product, in `dtype`, and of bias, gain and shift, from that of the result of `norm_act`.

    Args:
        bias: the bias's shape, if its gradient is wanted.
        norm_wanted: whether the gradients of gain and shift are wanted.
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
    """Fold LayerNorm's gain and shift into the next layer.

    `(n * gain + shift) W + b = n (gain * W) + (shift W + b)`: the right side is a pass over the weights instead of over
    all rows, forward and backward.

    Args:
        weight: [members, a, n].
        bias: [members, 1, n].
        gain, shift: [members, 1, a].
        dtype: of the folded weight.

    Returns:
        the folded weight and bias.
    """
    shifted = (shift.mT * weight).sum(dim=1, keepdim=True)  # faster than a product of one row
    return (gain.mT * weight).to(dtype), bias + shifted


def fold_backward(
    grad: Tensor, grad_bias: Tensor, weight: Tensor, gain: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of weight, gain and shift from those of the folded weight and bias; the bias's is `grad_bias`."""
    grad = grad.to(weight.dtype)
    to_gain = (grad * weight).sum(dim=2, keepdim=True).mT
    to_shift = (grad_bias * weight).sum(dim=2, keepdim=True).mT
    return torch.addcmul(shift.mT * grad_bias, gain.mT, grad), to_gain, to_shift
