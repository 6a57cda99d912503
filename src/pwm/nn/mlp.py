"""The world model's perceptron: Linear -> LayerNorm -> Mish per hidden layer, and a task term in the first layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwm.nn.activations import mish, mish_and_slope, simnorm, simnorm_backward
from pwm.nn.products import SharedWeights, product

_EPS = 1e-5  # PyTorch's own for LayerNorm


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
        self.norms = nn.ModuleList(nn.LayerNorm(width, _EPS) for width in normed)

    def context(self, embedding: Tensor) -> Tensor:
        """The first layer's share [..., hidden[0]] of task embeddings [..., task_dim], bias included."""
        first = self.linears[0]
        return F.linear(embedding, first.weight[:, self.inputs :], first.bias)

    def share(self) -> SharedWeights:
        """The weights for calls between which they do not change, as in the steps of a rollout.

        A last layer without LayerNorm always multiplies in float32: its output is read as numbers.
        """
        first, *rest = self.linears
        weights = [first.weight[:, : self.inputs], *(linear.weight for linear in rest)]
        last = self.precision if self.simnorm_group else "float32"
        return SharedWeights(weights, [*(self.precision for _ in rest), last])

    def forward(self, x: Tensor, context: Tensor, shared: SharedWeights | None = None) -> Tensor:
        """Map x [..., inputs] with `context` [..., hidden[0]] (broadcast against x) to [..., outputs].

        Args:
            shared: what `share` returned, for calls that come in numbers.
        """
        shared = shared or self.share()
        biases = [linear.bias for linear in self.linears[1:]]
        gains, shifts = [norm.weight for norm in self.norms], [norm.bias for norm in self.norms]
        inputs = (x, context, *shared.handles, *biases, *gains, *shifts)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            return _Perceptron.apply(shared, self.simnorm_group, *inputs)
        return _forward(x, shared.factors, [context, *biases], gains, shifts, self.simnorm_group)


def _forward(
    x: Tensor,
    factors: Sequence[Tensor],
    biases: Sequence[Tensor],
    gains: Sequence[Tensor],
    shifts: Sequence[Tensor],
    group: int | None,
    saved: list[Tensor] | None = None,
) -> Tensor:
    """The perceptron without a graph. For each layer `saved` receives its input and, where they exist, the input, mean
    and inverse deviation of its LayerNorm, and the slope of Mish or the output of SimNorm."""
    last = len(factors) - 1
    for i, (weight, bias) in enumerate(zip(factors, biases, strict=True)):
        x = x.to(weight.dtype)
        if saved is not None:
            saved.append(x)
        x = product(x.reshape(-1, x.shape[-1]), weight.T).view(*x.shape[:-1], -1) + bias
        if i == last and not group:
            break
        normed, mean, deviation = torch.native_layer_norm(x, x.shape[-1:], gains[i], shifts[i], _EPS)
        if saved is None:
            x = mish(normed) if i < last else simnorm(normed, group)
            continue
        saved += [x, mean, deviation]
        if i < last:
            x, slope = mish_and_slope(normed)
            saved.append(slope)
        else:
            x = simnorm(normed, group)
            saved.append(x)
    return x


class _Perceptron(torch.autograd.Function):
    """`_forward` with its gradient written out: one node of the graph, and no pass over memory that is not needed."""

    @staticmethod
    def forward(ctx, shared: SharedWeights, group: int | None, x: Tensor, context: Tensor, *parameters: Tensor):
        layers = len(shared.factors)
        biases, norms = parameters[layers : 2 * layers - 1], parameters[2 * layers - 1 :]
        gains, shifts = norms[: len(norms) // 2], norms[len(norms) // 2 :]
        saved: list[Tensor] = []
        out = _forward(x, shared.factors, [context, *biases], gains, shifts, group, saved)
        ctx.group, ctx.layers, ctx.gathered, ctx.context_shape = group, layers, shared.gathered, context.shape
        ctx.save_for_backward(*shared.factors, *gains, *shifts, *saved)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers, group = ctx.layers, ctx.group
        normed = layers if group else layers - 1
        kept = list(ctx.saved_tensors)
        factors, gains, shifts = (
            kept[a:b] for a, b in ((0, layers), (layers, layers + normed), (layers + normed, layers + 2 * normed))
        )
        kept = kept[layers + 2 * normed :]
        x_needed, context_needed, *needed = ctx.needs_input_grad[2:]
        weights_needed, biases_needed, gains_needed = (
            needed[:layers],
            [context_needed, *needed[layers : 2 * layers - 1]],
            needed[2 * layers - 1 :],
        )
        to_biases, to_gains, to_shifts = [None] * layers, [None] * normed, [None] * normed
        for i in reversed(range(layers)):
            if i < normed:
                *_, x, mean, deviation, slope = kept
                grad = grad * slope if i < layers - 1 else simnorm_backward(grad, slope, group)
                wanted = [True, gains_needed[i], gains_needed[i]]
                grad, to_gains[i], to_shifts[i] = torch.ops.aten.native_layer_norm_backward(
                    grad, x, x.shape[-1:], mean, deviation, gains[i], shifts[i], wanted
                )
                del kept[-4:]
            if biases_needed[i]:
                to_biases[i] = grad.flatten(0, -2).sum(dim=0) if i else grad.sum_to_size(ctx.context_shape)
            x = kept.pop().flatten(0, -2)
            low = grad.to(factors[i].dtype).flatten(0, -2)
            if weights_needed[i]:
                ctx.gathered[i].add(low, x)
            if i or x_needed:
                grad = product(low, factors[i]).to(grad.dtype).unflatten(0, grad.shape[:-1])
        to_context, *to_biases = to_biases
        to_weights = [None] * layers
        return None, None, grad if x_needed else None, to_context, *to_weights, *to_biases, *to_gains, *to_shifts


@torch.no_grad()
def init_truncated_normal(module: nn.Module, std: float, generator: torch.Generator) -> None:
    """TD-MPC2's initialisation: weights from a normal of `std` cut at two standard deviations, biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            nn.init.zeros_(layer.bias)
