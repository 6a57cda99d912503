"""One layer's matrix product, whose weights serve many times: seconds per product.

The reference is PyTorch's own product in the same number format, and its weights are as they lie in memory. Both go
round a ring of weights larger than a core's own cache, as the layers of a rollout do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch

from benchmarks.harness import compare
from benchmarks.results import Context, Record, measured
from pwm.nn.products import Factor
from pwm.world_model.config import world_model_size

NAME = "products"
ROWS = (64, 1024)
_RING_BYTES = 6e6


def run(context: Context) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for a hidden layer of every size of world model, at every number of rows."""
    if context.quick:
        return
    for size, rows in itertools.product(context.sizes, ROWS):
        width = world_model_size(size).units[-1]
        for way in ("forward", "backward"):
            name = context.name(NAME, size, str(rows), way)
            if context.wants(name):
                yield name, _layer(context, rows, width, way)


def _layer(context: Context, rows: int, width: int, way: str) -> Record:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=generator).to(context.device, context.dtype)
    weights = torch.randn(int(max(1, _RING_BYTES / width**2 / 2)), width, width, generator=generator)
    weights = weights.to(context.device, context.dtype)
    factors = [Factor(weight.T, context.precision, lasting=True) for weight in weights]  # weights are [outputs, inputs]
    turns = itertools.cycle(factors), itertools.cycle(weights)
    functions: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "forward": (lambda: next(turns[0]).times(x), lambda: torch.mm(x, next(turns[1]).T)),
        "backward": (lambda: next(turns[0]).back(x), lambda: torch.mm(x, next(turns[1]))),
    }
    for _ in factors:
        functions[way][0]()  # each is made ready once
    result = compare(*functions[way], context.device, rounds=60)
    return measured(
        context, result, 2 * rows * width**2, {"rows": rows, "inputs": width, "outputs": width},
        note="the reference is PyTorch's product in the same number format",
    )  # fmt: skip
