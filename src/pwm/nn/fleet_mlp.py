"""Many small networks as one: perceptrons whose parameters carry leading axes (policies, critics)."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor, nn

from pwm.nn.forms import form_for
from pwm.nn.native import layers as native
from pwm.nn.native.regression import regress, regressible
from pwm.nn.products import Factor, Gathered, lowered


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

    def listed(self) -> tuple[Tensor, ...]:
        """Weights, biases, gains and shifts; many times faster than going through `nn.ParameterList`."""
        lists = (self.weights, self.biases, self.gains, self.shifts)
        return tuple(parameter for part in lists for parameter in part._parameters.values())

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
        inputs = (x, *shared.handles, *shared.biases)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            return _Fleet.apply(shared, *inputs)
        return _forward(shared, x)

    @torch.no_grad()
    def squared_errors(self, x: Tensor, targets: Tensor, counts: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """The mean squared error of each network with one output, and the gradient of their sum.

        Does without autograd, for updates that are too small for what that costs.

        Args:
            x: [groups, rows, inputs], a group being the input of members / groups networks that follow each other.
            targets: [groups, rows].
            counts: [groups, rows], what each row's squared error counts; None lets all count one.

        Returns:
            errors [members], gradients in the order of `listed`; the first weight's comes in the number format of its
            product.
        """
        parameters, x = self.listed(), lowered(x, self.precision)
        if form_for(self.biases) is native and regressible(parameters, x):
            return regress(parameters, x, targets, counts)
        shared, inputs, kept = SharedFleet(self), [], []
        out = _forward(shared, x, inputs, kept)
        weights, _, gains, shifts = _split(parameters)
        errors = out.view(x.shape[0], -1, x.shape[1]) - targets.unsqueeze(1)
        counting = errors if counts is None else errors * counts.unsqueeze(1)
        grad = (counting * (2.0 / errors.shape[-1])).view(out.shape)
        needed = [False] + [True] * (2 * len(weights))
        _, biases = _backward(shared.form, shared.gathered, shared.factors, inputs, kept, grad, needed)
        grads = _unfolded(shared.form, shared.gathered, biases, weights, gains, shifts)
        return (errors * counting).mean(dim=-1).flatten(), grads

    @torch.no_grad()
    def init_orthogonal(self, member: int, gain: float, output_gain: float, generator: torch.Generator) -> None:
        """Orthogonal weights for one member, drawn from `generator`; biases stay zero."""
        last = len(self.weights) - 1
        for i, weight in enumerate(self.weights):
            square = torch.empty(weight.shape[2], weight.shape[1])
            nn.init.orthogonal_(square, output_gain if i == last else gain, generator=generator)
            weight[member].copy_(square.T)


class SharedFleet:
    """A fleet's parameters for calls between which they do not change, with gain and shift of each LayerNorm taken into
    the layer that follows it (`plain.fold`).

    Attributes:
        factors: the folded weights, without graph.
        biases: the folded biases.
        handles: what a call names to autograd as its weights; their gradient stays None.
        gathered: where a call's backward pass puts its share of the gradient of each folded weight.
        form: the arithmetic between the products (`nn/forms.py`).
    """

    def __init__(self, net: FleetMLP) -> None:
        precisions = [net.precision] * (len(net.weights) - 1) + ["float32"]
        parameters = net.listed()
        weights = _split(parameters)[0]
        self.gathered = [Gathered(weight) for weight in weights]
        self.factors: list[Factor] = []
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
            outputs = _Fold.apply(self, precisions, *parameters)
            self.handles, self.biases = outputs[: len(weights)], outputs[len(weights) :]
        else:
            self.handles = tuple(weight.detach() for weight in weights)
            self.biases = self.fold(precisions, parameters)

    @torch.no_grad()
    def fold(self, precisions: Sequence[str], parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make `factors` of a fleet's parameters; returns the folded biases."""
        (first, *weights), (bias, *biases), gains, shifts = _split(parameters)
        self.form = form_for((bias, *biases))
        self.factors = [Factor(first, precisions[0])]
        folded = [bias.detach().view_as(bias)]
        for precision, *layer in zip(precisions[1:], weights, biases, gains, shifts, strict=True):
            dtype = torch.bfloat16 if precision == "bfloat16" else first.dtype
            factor, bias = self.form.fold(*(tensor.detach() for tensor in layer), dtype)
            self.factors.append(Factor(factor, precision))
            folded.append(bias)
        return tuple(folded)


def _split(parameters: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    """Weights, biases, gains and shifts; there is one of the latter two less."""
    layers = (len(parameters) + 2) // 4
    ends = layers, 2 * layers, 3 * layers - 1
    return parameters[: ends[0]], parameters[ends[0] : ends[1]], parameters[ends[1] : ends[2]], parameters[ends[2] :]


class _Fold(torch.autograd.Function):
    """`SharedFleet.fold`. Its backward pass comes after those of all calls, which left their share in `gathered`."""

    @staticmethod
    def forward(ctx, shared: SharedFleet, precisions: Sequence[str], *parameters: Tensor) -> tuple[Tensor, ...]:
        folded = shared.fold(precisions, parameters)
        weights, _, gains, shifts = _split(parameters)
        ctx.form, ctx.gathered = shared.form, shared.gathered
        ctx.save_for_backward(*weights, *gains, *shifts)
        ctx.set_materialize_grads(False)
        return *(weight.view_as(weight) for weight in weights), *folded

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        n, saved = len(ctx.gathered), ctx.saved_tensors
        weights, gains, shifts = saved[:n], saved[n : 2 * n - 1], saved[2 * n - 1 :]
        first, *rest = _unfolded(ctx.form, ctx.gathered, grads[n:], weights, gains, shifts)
        return None, None, None if first is None else first.to(weights[0].dtype), *rest


def _unfolded(
    form: ModuleType,
    gathered: Sequence[Gathered],
    to_biases: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    gains: Sequence[Tensor],
    shifts: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients of weights, biases, gains and shifts from those of the folded weights, in `gathered`, and biases.

    The first weight's comes in the number format of its product.
    """
    first, *rest = (part.take() for part in gathered)
    to_weights, to_gains, to_shifts = [first], [], []
    for grad, to_bias, *layer in zip(rest, to_biases[1:], weights[1:], gains, shifts, strict=True):
        found = (None, None, None) if grad is None or to_bias is None else form.fold_backward(grad, to_bias, *layer)
        for kind, value in zip((to_weights, to_gains, to_shifts), found, strict=True):
            kind.append(value)
    return [*to_weights, *to_biases, *to_gains, *to_shifts]


def _forward(shared: SharedFleet, x: Tensor, inputs: list | None = None, kept: list | None = None) -> Tensor:
    """The networks without a graph. `inputs` receives the input of each layer, `kept` what its backward pass needs."""
    factors, last = shared.factors, len(shared.factors) - 1
    x = x.to(factors[0].dtype)
    members = shared.biases[0].shape[0]
    if x.shape[0] != members:
        x = x.repeat_interleave(members // x.shape[0], dim=0)
    for i, (factor, bias) in enumerate(zip(factors, shared.biases, strict=True)):
        if inputs is not None:
            inputs.append(x)
        x = factor.times(x)
        if i == last:
            return x + bias
        x, needed = shared.form.mish_norm(x, bias, factors[i + 1].dtype, keep=kept is not None)
        if kept is not None:
            kept.append(needed)
    raise AssertionError("a network has layers")


def _backward(
    form: ModuleType,
    gathered: Sequence[Gathered],
    factors: Sequence[Factor],
    inputs: Sequence[Tensor | None],
    kept: Sequence[tuple[Tensor, ...]],
    grad: Tensor,
    needed: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """From the gradient at the networks' output: that at their input, before members shared it, and those of the folded
    biases; those of the folded weights go to `gathered`. `needed` asks for input, weights and biases, one by one."""
    layers = len(factors)
    x_needed, weights_needed, biases_needed = needed[0], needed[1 : layers + 1], needed[layers + 1 :]
    to_biases: list[Tensor | None] = [None] * layers
    low = grad
    for i in reversed(range(layers)):
        if i < layers - 1:
            low, to_biases[i] = form.mish_norm_backward(low, kept[i], factors[i].dtype, biases_needed[i])
        elif biases_needed[i]:
            to_biases[i] = grad.sum(dim=1, keepdim=True)
        if weights_needed[i]:
            gathered[i].add(inputs[i], low)
        if i or x_needed:
            low = factors[i].back(low)
    return low.to(grad.dtype) if x_needed else None, to_biases


class _Fleet(torch.autograd.Function):
    """`_forward` with its gradient written out: one node of the graph, and no pass over memory that is not needed."""

    @staticmethod
    def forward(ctx, shared: SharedFleet, x: Tensor, *parameters: Tensor) -> Tensor:
        inputs: list[Tensor] = []
        kept: list[tuple[Tensor, ...]] = []
        layers = len(shared.factors)
        out = _forward(shared, x, inputs, kept)
        needed = ctx.needs_input_grad[2 : 2 + layers]
        inputs = [x if wanted else None for x, wanted in zip(inputs, needed, strict=True)]
        ctx.form, ctx.gathered, ctx.groups = shared.form, shared.gathered, x.shape[0]
        ctx.sizes = [len(part) for part in kept]
        ctx.factors = shared.factors
        matrices = [factor.matrix for factor in shared.factors]  # they are not used, but must not change
        ctx.save_for_backward(*inputs, *(tensor for part in kept for tensor in part), *matrices)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.gathered)
        saved = iter(ctx.saved_tensors)
        inputs = [next(saved) for _ in range(layers)]
        kept = [tuple(next(saved) for _ in range(size)) for size in ctx.sizes]
        x, to_biases = _backward(ctx.form, ctx.gathered, ctx.factors, inputs, kept, grad, ctx.needs_input_grad[1:])
        return None, None if x is None else x.unflatten(0, (ctx.groups, -1)).sum(dim=1), *[None] * layers, *to_biases
