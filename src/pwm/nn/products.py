"""Matrix products in float32 or, twice as fast where the hardware has it, in bfloat16 with float32 sums around them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """ "float32" or "bfloat16"; "auto" takes bfloat16 where the device multiplies it in hardware.

    Depends on the machine's instruction set alone and not on a measurement, so that results repeat.
    """
    if precision != "auto":
        return precision
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if supported() else "float32"


class _LowLinear(torch.autograd.Function):
    """x W^T with bfloat16 factors in the product and in both of its gradients; everything else is float32."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        x16, weight16 = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x16 if ctx.needs_input_grad[1] else None, weight16)
        return F.linear(x16, weight16).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x16, weight16 = ctx.saved_tensors
        grad16 = grad.bfloat16()
        to_x = (grad16 @ weight16).to(grad.dtype) if ctx.needs_input_grad[0] else None
        to_weight = (grad16.flatten(0, -2).T @ x16.flatten(0, -2)).to(grad.dtype) if x16 is not None else None
        return to_x, to_weight


class _LowBmm(torch.autograd.Function):
    """Batched x W, likewise."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        x16, weight16 = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x16 if ctx.needs_input_grad[1] else None, weight16)
        return torch.bmm(x16, weight16).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x16, weight16 = ctx.saved_tensors
        grad16 = grad.bfloat16()
        to_x = torch.bmm(grad16, weight16.mT).to(grad.dtype) if ctx.needs_input_grad[0] else None
        to_weight = torch.bmm(x16.mT, grad16).to(grad.dtype) if x16 is not None else None
        return to_x, to_weight


def linear(x: Tensor, weight: Tensor, bias: Tensor, precision: str) -> Tensor:
    """x [..., in] times weight [out, in] transposed, plus bias ([out], or anything that broadcasts): [..., out]."""
    if precision == "bfloat16":
        return _LowLinear.apply(x, weight) + bias
    return F.linear(x, weight, bias) if bias.ndim == 1 else F.linear(x, weight) + bias


def batched_linear(bias: Tensor, x: Tensor, weight: Tensor, precision: str) -> Tensor:
    """bias [n, 1, out] + x [n, rows, in] times weight [n, in, out]: [n, rows, out]."""
    if precision == "bfloat16":
        return _LowBmm.apply(x, weight) + bias
    return torch.baddbmm(bias, x, weight)


def set_precision(module: torch.nn.Module, precision: str) -> None:
    """Let every perceptron inside `module` multiply in this precision ("float32" or "bfloat16")."""
    for part in module.modules():
        if hasattr(part, "precision"):
            part.precision = precision
