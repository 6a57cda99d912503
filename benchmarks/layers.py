"""What lies between the matrix products of a layer: the compiled kernels beside PyTorch operations and torch.compile.

The rows say how many times as long `nn/plain.py` takes, run operation by operation (`plain`) or compiled by
`torch.compile` (`compiled`), whose compile time is not counted. Forward and backward count together, since the kernels
keep less in between and compute it again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.harness import compare
from benchmarks.results import Context, Record, measured, skipped
from pwm.nn import native, plain

NAME = "layers"
ROWS = (64, 1024)
WIDTH = 512
Function = Callable[[], object]


def run(context: Context) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for each kind of layer, number of rows, and way of running `nn/plain.py`."""
    if context.quick or context.device.type != "cpu":
        return
    if native.kernels() is None:
        yield NAME, skipped(context, f"no compiled kernels: {native.why_not()}")
        return
    for rows in ROWS:
        kernels, references = calls(native, rows), {"plain": calls(plain, rows), "compiled": calls(plain, rows, True)}
        for function, ours in kernels.items():
            for way, functions in references.items():
                name = context.name(NAME, function, str(rows), way)
                if context.wants(name):
                    yield name, _row(context, ours, functions[function], rows)


def _row(context: Context, ours: Function, reference: Function, rows: int) -> Record:
    shapes = {"rows": rows, "width": WIDTH}
    try:
        reference()  # compiles
    except Exception as error:  # of any kind: the other rows are still measured
        return skipped(context, str(error).strip().splitlines()[0], shapes=shapes)
    result = compare(ours, reference, context.device, rounds=60)
    return measured(context, result, None, shapes, note="ours are the compiled kernels")


def calls(form: ModuleType, rows: int, compiled: bool = False) -> dict[str, Function]:
    """A layer of a fleet and one of a world model, forward and backward on float32 tensors."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(1, rows, WIDTH, generator=generator) for _ in range(2))
    bias, gain, shift = (torch.randn(WIDTH, generator=generator) for _ in range(3))
    ready = functools.partial(torch.compile, dynamic=False) if compiled else lambda function: function
    full, row = torch.float32, bias.view(1, 1, WIDTH)
    mish_norm, mish_norm_backward = ready(form.mish_norm), ready(form.mish_norm_backward)
    norm_act, norm_act_backward = ready(form.norm_act), ready(form.norm_act_backward)

    def fleet() -> tuple[Tensor | None, ...]:
        out, kept = mish_norm(x, row, full, True)
        return out, *mish_norm_backward(grad, kept, full, True)

    def world_model() -> tuple[Tensor | None, ...]:
        out, kept = norm_act(x, bias, gain, shift, None, full, True)
        return out, *norm_act_backward(grad, kept, None, full, bias.shape, True)

    return {"mish_norm": fleet, "norm_act": world_model}
