"""The world model's perceptron: Linear -> LayerNorm -> Mish per hidden layer, and a task term in the first layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwm.nn import products
from pwm.nn.activations import mish, simnorm


class ConditionedMLP(nn.Module):
    """Perceptron of (x, task embedding).

    The first layer reads the concatenation [x, e]. Its task half does not depend on time, so it is computed once per
    task by `context` and added at every step of a rollout: less arithmetic than concatenating, same result.

    Args:
        inputs: width of x.
        task_dim: width of the task embedding e.
        hidden: widths of the hidden layers.
        outputs: width of the output.
        simnorm_group: when given, the output passes LayerNorm and SimNorm with groups of this size.
    """

    def __init__(
        self, inputs: int, task_dim: int, hidden: Sequence[int], outputs: int, simnorm_group: int | None = None
    ) -> None:
        super().__init__()
        widths = [inputs + task_dim, *hidden, outputs]
        self.inputs = inputs
        self.simnorm_group = simnorm_group
        self.precision = "float32"
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        normed = widths[1:] if simnorm_group else widths[1:-1]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in normed)

    def context(self, embedding: Tensor) -> Tensor:
        """The first layer's share [..., hidden[0]] of task embeddings [..., task_dim], bias included."""
        first = self.linears[0]
        return F.linear(embedding, first.weight[:, self.inputs :], first.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map x [..., inputs] with `context` [..., hidden[0]] (broadcast against x) to [..., outputs]."""
        last = len(self.linears) - 1
        for i, linear in enumerate(self.linears):
            weight, bias = (linear.weight[:, : self.inputs], context) if i == 0 else (linear.weight, linear.bias)
            bare = i == last and not self.simnorm_group  # its output is read as numbers, so it is not rounded
            x = products.linear(x, weight, bias, "float32" if bare else self.precision)
            if i < last:
                norm = self.norms[i]
                x = mish(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        if self.simnorm_group:
            norm = self.norms[last]
            x = F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            x = simnorm(x, self.simnorm_group)
        return x


@torch.no_grad()
def init_truncated_normal(module: nn.Module, std: float, generator: torch.Generator) -> None:
    """TD-MPC2's initialisation: weights from a normal of `std` cut at two standard deviations, biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            nn.init.zeros_(layer.bias)
