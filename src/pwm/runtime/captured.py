"""An update as a CUDA graph: recorded once and then replayed.

A graph needs one launch instead of thousands. A recorded update must keep its tensors in place and in shape, must not
sync with the host, and must hold whatever changes between updates (batch, step sizes, counters) in tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

_WARM_UP = 3  # eager updates before recording: allocators, libraries and Adam's state settle
Outputs = dict[str, Tensor]


class CapturedStep:
    """Runs `step(kind, *tensors)`, which changes parameters in place and returns named tensors.

    On a CUDA device, the first three calls with the same kind and shapes run eagerly (as real updates), the next is
    recorded, and later ones copy their inputs and replay. On other devices every call copies its inputs and runs the
    step. Only the latest recording is kept. Outputs are overwritten by the next call.

    Args:
        step: a function of tensors (or None), which must obey the rules in this module's docstring.
        device: where it runs.
        enabled: False calls the step directly.
    """

    def __init__(self, step: Callable[..., Outputs], device: torch.device | str, enabled: bool = True) -> None:
        self.step, self.device, self.enabled = step, torch.device(device), enabled
        self._kind: Hashable = None
        self._calls = 0
        self._inputs: list[Tensor | None] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: Outputs = {}
        cuda = enabled and self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if cuda else None

    def __call__(self, kind: Hashable, *tensors: Tensor | None) -> Outputs:
        if not self.enabled:
            return self.step(kind, *tensors)
        key = (kind, *(None if x is None else (tuple(x.shape), x.dtype) for x in tensors))
        if key != self._kind:
            self.forget()
            self._kind = key
            self._inputs = [None if x is None else torch.empty_like(x) for x in tensors]
        for place, x in zip(self._inputs, tensors, strict=True):
            if place is not None and x is not None:
                place.copy_(x, non_blocking=True)
        self._calls += 1
        if self._stream is None:
            return self.step(kind, *self._inputs)
        if self._calls <= _WARM_UP:  # on a side stream, which recording requires
            main = torch.cuda.current_stream(self.device)
            self._stream.wait_stream(main)
            with torch.cuda.stream(self._stream):
                outputs = self.step(kind, *self._inputs)
            main.wait_stream(self._stream)
            return outputs
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._outputs = self.step(kind, *self._inputs)
        self._graph.replay()
        return self._outputs

    def forget(self) -> None:
        """Drop the recording and free its memory; the next calls warm up and record again."""
        self._kind, self._calls = None, 0
        self._graph, self._outputs = None, {}
