"""The gradient of many small networks' squared errors by `regress.c`: one call instead of about sixty operations."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from pwm.nn.native.build import MOST_LAYERS, kernels
from pwm.nn.native.calls import KINDS, library_for, threads_for
from pwm.nn.native.products import multiplies_bfloat16


def regress(parameters: Sequence[Tensor], x: Tensor, targets: Tensor, counts: Tensor | None) -> tuple[Tensor, list]:
    """The mean squared error of every network and the gradient of their sum, with bfloat16 factors in all products but
    the last layer's.

    Args:
        parameters: weights, biases, gains and shifts in float32, as `FleetMLP.listed` returns them.
        x: [groups, rows, inputs] in bfloat16; each group is the input of networks / groups consecutive networks.
        targets: [groups, rows].
        counts: [groups, rows], the weight of each row's error; None: all 1.

    Returns:
        errors [networks], gradients in the order of `parameters`, the first one in bfloat16.
    """
    layers = (len(parameters) + 2) // 4
    groups, rows, inputs = x.shape
    each = parameters[0].shape[0] // groups
    widths = (ctypes.c_int64 * (layers + 1))(inputs, *(weight.shape[2] for weight in parameters[:layers]))
    threads = threads_for(rows * groups * each * inputs)
    parameters = [parameter.contiguous() for parameter in parameters]
    x, targets = x.contiguous(), targets.to(torch.float32).expand(groups, rows).contiguous()
    counts = None if counts is None else counts.to(torch.float32).expand(groups, rows).contiguous()
    grads = [torch.empty_like(parameter, dtype=x.dtype if not i else None) for i, parameter in enumerate(parameters)]
    errors = targets.new_empty(groups * each)
    room = kernels().regress_room(groups, each, rows, layers, widths, threads)
    scratch = torch.empty(room, dtype=torch.uint8, device=x.device)
    library_for(x).regress(
        x.data_ptr(), targets.data_ptr(), None if counts is None else counts.data_ptr(), groups, each, rows, layers,
        widths, _places(parameters), _places(grads), KINDS[grads[0].dtype], errors.data_ptr(), scratch.data_ptr(),
        threads,
    )  # fmt: skip
    return errors, grads


def regressible(parameters: Sequence[Tensor], x: Tensor) -> bool:
    """Whether `regress` supports such networks and inputs, apart from the device, and is fast."""
    layers = (len(parameters) + 2) // 4
    networks, inputs, _ = parameters[0].shape
    fits = x.ndim == 3 and x.shape[-1] == inputs and inputs % 2 == 0 and x.shape[-2] > 0
    fits = fits and 0 < x.shape[0] <= networks and networks % x.shape[0] == 0 and x.device == parameters[0].device
    fits = fits and 1 < layers <= MOST_LAYERS and parameters[layers - 1].shape[-1] == 1
    return fits and x.dtype == torch.bfloat16 and multiplies_bfloat16()


def _places(tensors: Sequence[Tensor]) -> ctypes.Array:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
