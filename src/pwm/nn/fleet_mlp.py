"""Many small networks as one: perceptrons whose parameters carry leading axes (policies, critics)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pwm.nn.activations import mish, mish_and_slope
from pwm.nn.products import SharedWeights, product

_EPS = 1e-5  # PyTorch's own for LayerNorm


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

    def share(self) -> SharedFleet:
        """The parameters for calls between which they do not change, as in the steps of a rollout."""
        return SharedFleet(self)

    def forward(self, x: Tensor, shared: SharedFleet | None = None) -> Tensor:
        """x [members, rows, inputs] -> [members, rows, outputs].

        Args:
            x: or [groups, rows, inputs], a group being the input of members / groups networks that follow each other.
            shared: what `share` returned, for calls that come in numbers.
        """
        shared = shared or self.share()
        inputs = (x, *shared.weights.handles, *shared.biases)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            return _Fleet.apply(shared, *inputs)
        return _forward(x, shared.weights.factors, shared.biases, shared.units)

    @torch.no_grad()
    def init_orthogonal(self, member: int, gain: float, output_gain: float, generator: torch.Generator) -> None:
        """Orthogonal weights for one member, drawn from `generator`; biases stay zero."""
        last = len(self.weights) - 1
        for i, weight in enumerate(self.weights):
            square = torch.empty(weight.shape[2], weight.shape[1])
            nn.init.orthogonal_(square, output_gain if i == last else gain, generator=generator)
            weight[member].copy_(square.T)


class SharedFleet:
    """A fleet's parameters, gain and shift of each LayerNorm taken into the layer that follows it.

    `(n * gain + shift) W + b = n (gain * W) + (shift W + b)`: the right side touches weights where the left one
    touches every row, forward and backward.
    """

    def __init__(self, net: FleetMLP) -> None:
        weights, biases = [net.weights[0]], [net.biases[0]]
        for weight, bias, gain, shift in zip(net.weights[1:], net.biases[1:], net.gains, net.shifts, strict=True):
            weights.append(gain.mT * weight)
            biases.append(bias + (shift.mT * weight).sum(dim=1, keepdim=True))  # a product of one row is slow
        self.weights = SharedWeights(weights, [*(net.precision for _ in net.gains), "float32"])
        self.biases = biases
        self.units = [(torch.ones_like(gain[0, 0]), torch.zeros_like(gain[0, 0])) for gain in net.gains]
        """gain 1 and shift 0 of each LayerNorm, which is slower without any"""


def _forward(
    x: Tensor,
    factors: Sequence[Tensor],
    biases: Sequence[Tensor],
    units: Sequence[tuple[Tensor, Tensor]],
    saved: list[Tensor] | None = None,
) -> Tensor:
    """The networks without a graph. For each layer `saved` receives its input and, for all but the last, the slope of
    Mish and the input, mean and inverse deviation of LayerNorm."""
    for i, (weight, bias) in enumerate(zip(factors, biases, strict=True)):
        x = x.to(weight.dtype)
        if x.shape[0] != weight.shape[0]:
            x = x.repeat_interleave(weight.shape[0] // x.shape[0], dim=0)
        if saved is not None:
            saved.append(x)
        x = product(x, weight) + bias
        if i == len(factors) - 1:
            break
        ones, zeros = units[i]
        if saved is None:
            x = torch.native_layer_norm(mish(x), x.shape[-1:], ones, zeros, _EPS)[0]
        else:
            x, slope = mish_and_slope(x)
            normed, mean, deviation = torch.native_layer_norm(x, x.shape[-1:], ones, zeros, _EPS)
            saved += [slope, x, mean, deviation]
            x = normed
    return x


class _Fleet(torch.autograd.Function):
    """`_forward` with its gradient written out: one node of the graph, and no pass over memory that is not needed."""

    @staticmethod
    def forward(ctx, shared: SharedFleet, x: Tensor, *parameters: Tensor) -> Tensor:
        saved: list[Tensor] = []
        weights = shared.weights
        biases = parameters[len(weights.factors) :]
        out = _forward(x, weights.factors, biases, shared.units, saved)
        ctx.gathered, ctx.groups = weights.gathered, x.shape[0]
        ctx.save_for_backward(*weights.factors, *saved)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.gathered)
        factors, kept = ctx.saved_tensors[:layers], list(ctx.saved_tensors[layers:])
        x_needed, *needed = ctx.needs_input_grad[1:]
        to_biases: list[Tensor | None] = [None] * layers
        for i in reversed(range(layers)):
            if i < layers - 1:
                *_, slope, x, mean, deviation = kept
                grad, _, _ = torch.ops.aten.native_layer_norm_backward(
                    grad, x, x.shape[-1:], mean, deviation, None, None, [True, False, False]
                )
                grad.mul_(slope)
                del kept[-4:]
            if needed[layers + i]:
                to_biases[i] = grad.sum(dim=1, keepdim=True)
            x, low = kept.pop(), grad.to(factors[i].dtype)
            if needed[i]:
                ctx.gathered[i].add(x, low)
            if i or x_needed:
                grad = product(low, factors[i].mT).to(grad.dtype)
        to_x = grad.unflatten(0, (ctx.groups, -1)).sum(dim=1) if x_needed else None
        return None, to_x, *([None] * layers), *to_biases
