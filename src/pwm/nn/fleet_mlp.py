"""Many small networks as one: perceptrons whose parameters carry leading axes (policies, critics)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwm.nn import products
from pwm.nn.activations import mish


class FleetMLP(nn.Module):
    """`members` perceptrons of one shape, each Linear -> Mish -> LayerNorm per hidden layer, evaluated together.

    Parameters are stacked on a leading axis [members]; a batched matrix product computes all of them at once. The last
    layer always multiplies in float32: it is small, and nothing rescales its output, which bfloat16 would round to
    steps of a quarter where values are near 60.

    Args:
        members: how many networks.
        inputs, hidden, outputs: layer widths, the same for all of them.
    """

    def __init__(self, members: int, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        widths = [inputs, *hidden, outputs]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.members = members
        self.precision = "float32"
        self.weights = nn.ParameterList(torch.zeros(members, a, b) for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(members, 1, b) for _, b in pairs)
        self.gains = nn.ParameterList(torch.ones(members, 1, b) for _, b in pairs[:-1])
        self.shifts = nn.ParameterList(torch.zeros(members, 1, b) for _, b in pairs[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """x [members, rows, inputs] -> [members, rows, outputs]."""
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = products.batched_linear(bias, x, weight, self.precision if i < last else "float32")
            if i < last:
                x = F.layer_norm(mish(x), x.shape[-1:])
                x = torch.addcmul(self.shifts[i], x, self.gains[i])
        return x

    @torch.no_grad()
    def init_orthogonal(self, member: int, gain: float, output_gain: float, generator: torch.Generator) -> None:
        """Orthogonal weights for one member, drawn from `generator`; biases stay zero."""
        last = len(self.weights) - 1
        for i, weight in enumerate(self.weights):
            square = torch.empty(weight.shape[2], weight.shape[1])
            nn.init.orthogonal_(square, output_gain if i == last else gain, generator=generator)
            weight[member].copy_(square.T)
