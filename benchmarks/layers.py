"""What lies between the matrix products of a layer: the compiled kernels beside PyTorch operations and torch.compile.

The rows say how many times as long `nn/plain.py` takes, run operation by operation (`plain`) or compiled by
`torch.compile` (`compiled`), whose compile time is not counted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType

import torch

from benchmarks.harness import compare
from benchmarks.results import Context, Record, measured, skipped
from pwm.nn import native, plain

NAME = "layers"
ROWS = (64, 1024)
WIDTH = 512
Function = Callable[[], object]


def run(context: Context) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for each function of a layer, number of rows, and way of running `nn/plain.py`."""
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
    """Calls on float32 tensors: Mish -> LayerNorm, LayerNorm -> Mish, and their gradients, by name."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(1, rows, WIDTH, generator=generator) for _ in range(2))
    bias, gain, shift = (torch.randn(WIDTH, generator=generator) for _ in range(3))
    ready = functools.partial(torch.compile, dynamic=False) if compiled else lambda function: function
    full, row = torch.float32, bias.view(1, 1, WIDTH)
    kept = form.mish_norm(x, row, full, True)[1], form.norm_act(x, bias, gain, shift, None, full, True)[1]
    return {
        "mish_norm": functools.partial(ready(form.mish_norm), x, row, full, True),
        "mish_norm_backward": functools.partial(ready(form.mish_norm_backward), grad, kept[0], full, True),
        "norm_act": functools.partial(ready(form.norm_act), x, bias, gain, shift, None, full, True),
        "norm_act_backward": functools.partial(
            ready(form.norm_act_backward), grad, kept[1], None, full, bias.shape, True
        ),
    }
