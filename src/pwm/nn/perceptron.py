"""Perceptrons with explicit forward and backward passes, for world models and for fleets of actors or critics.

Both classes prepare their parameters as `SharedWeights`, on which the functions below operate. What lies between the
matrix products runs as compiled kernels (`nn/native`) or PyTorch operations (`nn/plain.py`), chosen per call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwm.nn import native, plain
from pwm.nn.products import Factor, Gathered, lowered
from pwm.runtime.errors import PWMError


@dataclass(slots=True)
class SharedWeights:
    """A perceptron's parameters, prepared for several calls without changes, as for the steps of a rollout.

    Attributes:
        factors: weights by which each layer's input is multiplied, detached.
        handles: stand for the weights in autograd; their gradient is None.
        gathered: where the backward passes of the calls accumulate the weights' gradients.
        biases: of the layers, without the first layer of a `ConditionedMLP`, for which every call passes its own.
        gains, shifts: of the LayerNorms before Mish; empty for a fleet, whose factors include them.
        group: SimNorm's group size, if the output passes through it.
    """

    factors: Sequence[Factor]
    handles: Sequence[Tensor]
    gathered: Sequence[Gathered]
    biases: Sequence[Tensor]
    gains: Sequence[Tensor] = ()
    shifts: Sequence[Tensor] = ()
    group: int | None = None


class ConditionedMLP(nn.Module):
    """Perceptron of (x, task embedding), each hidden layer Linear -> LayerNorm -> Mish.

    The first layer reads the concatenation [x, e]. The part of e does not depend on time, so `context` computes it once
    per task and every step of a rollout adds it: the same result as concatenating, with less arithmetic.

    Args:
        inputs: width of x.
        task_dim: width of the task embedding e.
        hidden: widths of the hidden layers.
        outputs: width of the output.
        simnorm_group: if given, the output passes through LayerNorm and SimNorm with groups of this size.

    Raises:
        PWMError: `simnorm_group` does not divide `outputs`.
    """

    def __init__(
        self, inputs: int, task_dim: int, hidden: Sequence[int], outputs: int, simnorm_group: int | None = None
    ) -> None:
        super().__init__()
        if simnorm_group and outputs % simnorm_group:
            raise PWMError(
                f"simnorm_group {simnorm_group} does not divide the width {outputs} of the output; change one"
            )
        widths = [inputs + task_dim, *hidden, outputs]
        self.inputs = inputs
        self.simnorm_group = simnorm_group
        self.precision = "float32"
        self._frozen: tuple[tuple, list[Tensor], list[Factor]] | None = None
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        normed = widths[1:] if simnorm_group else widths[1:-1]
        self.norms = nn.ModuleList(nn.LayerNorm(width, plain.EPS) for width in normed)

    def context(self, embedding: Tensor) -> Tensor:
        """The part [..., hidden[0]] of the first layer from task embeddings [..., task_dim], including its bias."""
        first = self.linears[0]
        return F.linear(embedding, first.weight[:, self.inputs :], first.bias)

    def share(self) -> SharedWeights:
        """The parameters, prepared for several calls without changes.

        The prepared weights of a frozen network are cached until they change (changes through `weight.data` are not
        noticed). An output layer without LayerNorm always multiplies in float32, since nothing rescales its output.
        """
        own, norms = [linear.weight for linear in self.linears], list(self.norms)
        weights = [own[0][:, : self.inputs], *own[1:]]
        if any(weight.requires_grad or weight.is_inference() for weight in own):
            self._frozen, factors = None, self._factors(weights)
        else:
            state = (own[0].device, self.precision, *((w.data_ptr(), w.dtype, w._version) for w in own))
            if self._frozen is None or self._frozen[0] != state:
                with torch.inference_mode(False), torch.no_grad():  # the cache may be used with autograd later
                    held = [weight.detach() for weight in own]  # keeps their memory from being reused
                    self._frozen = state, held, self._factors(weights, lasting=True)
            factors = self._frozen[2]
        handles, _, gathered = _hand_out(factors, (), weights)
        biases = [linear.bias for linear in self.linears][1:]
        gains, shifts = [norm.weight for norm in norms], [norm.bias for norm in norms]
        return SharedWeights(factors, handles, gathered, biases, gains, shifts, self.simnorm_group)

    def _factors(self, weights: Sequence[Tensor], lasting: bool = False) -> list[Factor]:
        last = self.precision if self.simnorm_group else "float32"
        return [
            Factor(lowered(weight.detach(), precision).contiguous().T, precision, lasting)
            for weight, precision in zip(weights, [*[self.precision] * (len(weights) - 1), last], strict=True)
        ]

    def __getstate__(self) -> dict:
        """For copies and pickles: without the cache."""
        return self.__dict__ | {"_frozen": None}

    def forward(self, x: Tensor, context: Tensor, shared: SharedWeights | None = None) -> Tensor:
        """Map x [..., inputs] with `context` [..., hidden[0]] (broadcast against x) to [..., outputs].

        Args:
            shared: what `share` returned, for several calls with the same parameters.
        """
        shared = shared or self.share()
        lead, own = context.shape[:-1], x.shape[:-1]
        if len(lead) > len(own) or any(a not in (1, b) for a, b in zip(reversed(lead), reversed(own))):
            x = x.expand(*torch.broadcast_shapes(own, lead), -1)
        return _run(shared, x, (context, *shared.biases))


class FleetMLP(nn.Module):
    """`members` perceptrons of the same shape, evaluated together; each hidden layer is Linear -> Mish -> LayerNorm.

    Parameters are stacked on a leading axis [members] and multiplied as a batch. The last layer always multiplies in
    float32: it is small, and nothing rescales its output, which bfloat16 would round to steps of 1/4 near 60.

    Args:
        members: number of networks.
        inputs, hidden, outputs: layer widths of each.
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
        """Weights, biases, gains and shifts; many times faster than iterating over `nn.ParameterList`."""
        lists = (self.weights, self.biases, self.gains, self.shifts)
        return tuple(parameter for part in lists for parameter in part._parameters.values())

    def share(self) -> SharedWeights:
        """The parameters, prepared for several calls without changes; gain and shift of each LayerNorm are folded into
        the next layer (`plain.fold`)."""
        parameters = self.listed()
        (first, *weights), (bias, *biases), gains, shifts = _split(parameters)
        form, factors, folded = form_for((bias, *biases)), [], [bias.detach()]
        precisions = [*[self.precision] * len(weights), "float32"]
        with torch.no_grad():
            factors.append(Factor(first, precisions[0]))
            for precision, *layer in zip(precisions[1:], weights, biases, gains, shifts, strict=True):
                dtype = torch.bfloat16 if precision == "bfloat16" else first.dtype
                factor, bias = form.fold(*(tensor.detach() for tensor in layer), dtype)
                factors.append(Factor(factor, precision))
                folded.append(bias)
        handles, folded, gathered = _hand_out(factors, folded, parameters)
        return SharedWeights(factors, handles, gathered, folded)

    def forward(self, x: Tensor, shared: SharedWeights | None = None) -> Tensor:
        """x [members, rows, inputs] -> [members, rows, outputs].

        Args:
            x: or [groups, rows, inputs]; each group is the input of members / groups consecutive networks.
            shared: what `share` returned, for several calls with the same parameters.
        """
        shared = shared or self.share()
        return _run(shared, x, shared.biases)

    @torch.no_grad()
    def squared_errors(self, x: Tensor, targets: Tensor, counts: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """The mean squared error of each network (with one output), and the gradient of their sum.

        Does not use autograd, whose overhead would dominate small updates.

        Args:
            x: [groups, rows, inputs]; each group is the input of members / groups consecutive networks.
            targets: [groups, rows].
            counts: [groups, rows], the weight of each row's squared error; None: all 1.

        Returns:
            errors [members], and gradients in the order of `listed`; the first weight's has the number format of its
            product.
        """
        parameters, x = self.listed(), lowered(x, self.precision)
        if form_for(self.biases) is native and native.regressible(parameters, x):
            return native.regress(parameters, x, targets, counts)
        shared, inputs, kept = self.share(), [], []
        form = form_for(shared.biases)
        out = _forward(shared, form, x, shared.biases, inputs, kept)
        errors = out.view(x.shape[0], -1, x.shape[1]) - targets.unsqueeze(1)
        counting = errors if counts is None else errors * counts.unsqueeze(1)
        grad = (counting * (2.0 / errors.shape[-1])).view(out.shape)
        _, to_biases, _ = _backward(shared, form, inputs, kept, grad, False, [bias.shape for bias in shared.biases])
        grads = _unfolded(form, [part.take() for part in shared.gathered], to_biases, parameters)
        return (errors * counting).mean(dim=-1).flatten(), grads

    @torch.no_grad()
    def init_orthogonal(self, member: int, gain: float, output_gain: float, generator: torch.Generator) -> None:
        """Orthogonal weights for one member, drawn from `generator`; biases stay zero."""
        last = len(self.weights) - 1
        for i, weight in enumerate(self.weights):
            square = torch.empty(weight.shape[2], weight.shape[1])
            nn.init.orthogonal_(square, output_gain if i == last else gain, generator=generator)
            weight[member].copy_(square.T)


@torch.no_grad()
def init_truncated_normal(module: nn.Module, std: float, generator: torch.Generator) -> None:
    """TD-MPC2's initialisation: weights from a normal truncated at two standard deviations, biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            nn.init.zeros_(layer.bias)


def form_for(biases: Sequence[Tensor]) -> ModuleType:
    """`nn/native` if its kernels support a network with these biases, else `nn/plain.py`."""
    return native if native.usable(biases) else plain


def _run(shared: SharedWeights, x: Tensor, biases: Sequence[Tensor]) -> Tensor:
    inputs = (x, *shared.handles, *biases, *shared.gains, *shared.shifts)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        return _Perceptron.apply(shared, *inputs)
    return _forward(shared, form_for(biases), x, biases)


def _forward(
    shared: SharedWeights,
    form: ModuleType,
    x: Tensor,
    biases: Sequence[Tensor],
    inputs: list | None = None,
    kept: list | None = None,
) -> Tensor:
    """The networks without autograd; appends every layer's input to `inputs`, and what backward needs to `kept`."""
    factors, last = shared.factors, len(shared.factors) - 1
    x = x.to(factors[0].dtype)
    if factors[0].members and len(x) != factors[0].members:
        x = x.repeat_interleave(factors[0].members // len(x), dim=0)
    for i, bias in enumerate(biases):
        if inputs is not None:
            inputs.append(x)
        x = factors[i].times(x)
        if i == last and not shared.group:
            return x + bias
        dtype = factors[i + 1].dtype if i < last else bias.dtype
        if shared.gains:
            group = shared.group if i == last else None
            x, needed = form.norm_act(x, bias, shared.gains[i], shared.shifts[i], group, dtype, keep=kept is not None)
        else:
            x, needed = form.mish_norm(x, bias, dtype, keep=kept is not None)
        if kept is not None:
            kept.append(needed)
    return x


def _backward(
    shared: SharedWeights,
    form: ModuleType,
    inputs: Sequence[Tensor | None],
    kept: Sequence[tuple[Tensor, ...]],
    grad: Tensor,
    x_wanted: bool,
    bias_shapes: Sequence[torch.Size | None],
    norms_wanted: Sequence[bool] = (),
) -> tuple[Tensor | None, list[Tensor | None], list[Tensor | None]]:
    """Gradients of the input, of the biases, and of gains and then shifts, from the gradient at the output.

    Gradients of the weights of layers whose input is not None go to `shared.gathered`; those of biases are computed for
    layers that have a shape.
    """
    factors, dtype, last, normed = shared.factors, grad.dtype, len(shared.factors) - 1, len(kept)
    to_biases: list[Tensor | None] = [None] * len(factors)
    to_norms: list[Tensor | None] = [None] * (2 * len(shared.gains))
    for i in reversed(range(len(factors))):
        shape = bias_shapes[i]
        if i == normed:
            to_biases[i] = None if shape is None else grad.sum_to_size(shape)
            low = grad.to(factors[i].dtype)
        elif shared.gains:
            group = shared.group if i == last else None
            low, to_biases[i], to_norms[i], to_norms[normed + i] = form.norm_act_backward(
                grad, kept[i], group, factors[i].dtype, shape, norms_wanted[i]
            )
        else:
            low, to_biases[i] = form.mish_norm_backward(grad, kept[i], factors[i].dtype, shape is not None)
        if inputs[i] is not None:
            shared.gathered[i].add(inputs[i], low)
        if i or x_wanted:
            grad = factors[i].back(low)
    return grad.to(dtype) if x_wanted else None, to_biases, to_norms


class _Perceptron(torch.autograd.Function):
    """`_forward` and `_backward` as one node of the autograd graph."""

    @staticmethod
    def forward(ctx, shared: SharedWeights, x: Tensor, *parameters: Tensor) -> Tensor:
        layers, wanted = len(shared.factors), ctx.needs_input_grad[2:]
        biases = parameters[layers : 2 * layers]
        inputs: list[Tensor] = []
        kept: list[tuple[Tensor, ...]] = []
        ctx.shared, ctx.form, ctx.rows = shared, form_for(biases), x.shape
        out = _forward(shared, ctx.form, x, biases, inputs, kept)
        inputs = [x if yes else None for x, yes in zip(inputs, wanted[:layers], strict=True)]
        ctx.bias_shapes = [bias.shape if yes else None for bias, yes in zip(biases, wanted[layers : 2 * layers])]
        ctx.norms_wanted, ctx.sizes = wanted[2 * layers :], [len(part) for part in kept]
        matrices = [factor.matrix for factor in shared.factors]  # saved only to detect changes
        ctx.save_for_backward(*inputs, *(tensor for part in kept for tensor in part), *matrices)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        inputs = [next(saved) for _ in ctx.bias_shapes]
        kept = [tuple(next(saved) for _ in range(size)) for size in ctx.sizes]
        wanted = ctx.needs_input_grad[1], ctx.bias_shapes, ctx.norms_wanted
        x, to_biases, to_norms = _backward(ctx.shared, ctx.form, inputs, kept, grad, *wanted)
        if x is not None and ctx.shared.factors[0].members:
            x = x.unflatten(0, (ctx.rows[0], -1)).sum(dim=1)
        return None, x, *[None] * len(inputs), *to_biases, *to_norms


def _hand_out(
    factors: Sequence[Factor], folded: Sequence[Tensor], parameters: Sequence[Tensor]
) -> tuple[Sequence[Tensor], Sequence[Tensor], list[Gathered]]:
    """(handles of the weights, which come first among the parameters; folded biases; the weights' `Gathered`)."""
    gathered = [Gathered(weight) for weight in parameters[: len(factors)]]
    if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
        outputs = _Share.apply(gathered, folded, *parameters)
        return outputs[: len(factors)], outputs[len(factors) :], gathered
    return [factor.matrix for factor in factors], folded, gathered


class _Share(torch.autograd.Function):
    """Shares parameters among many calls. Its backward pass runs after theirs and returns what they accumulated.

    With folded biases, the parameters are those of a fleet.
    """

    @staticmethod
    def forward(ctx, gathered: list[Gathered], folded: Sequence[Tensor], *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.gathered, ctx.form = gathered, form_for(folded) if folded else None
        ctx.save_for_backward(*parameters if folded else ())
        ctx.set_materialize_grads(False)
        return *(weight.view_as(weight) for weight in parameters[: len(gathered)]), *folded

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found, dtype = [part.take() for part in ctx.gathered], ctx.gathered[0].dtype
        if ctx.form:
            found = _unfolded(ctx.form, found, grads[len(found) :], ctx.saved_tensors)
        return None, None, *(None if grad is None else grad.to(dtype) for grad in found)


def _split(parameters: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    """A fleet's weights, biases, gains and shifts; there is one fewer of the latter two."""
    layers = (len(parameters) + 2) // 4
    ends = layers, 2 * layers, 3 * layers - 1
    return parameters[: ends[0]], parameters[ends[0] : ends[1]], parameters[ends[1] : ends[2]], parameters[ends[2] :]


def _unfolded(
    form: ModuleType,
    to_folded: Sequence[Tensor | None],
    to_biases: Sequence[Tensor | None],
    parameters: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients of a fleet's parameters from those of its folded weights and biases.

    The first weight's has the number format of its product.
    """
    weights, _, gains, shifts = _split(parameters)
    to_weights, to_gains, to_shifts = [to_folded[0]], [], []
    for grad, to_bias, *layer in zip(to_folded[1:], to_biases[1:], weights[1:], gains, shifts, strict=True):
        found = (None, None, None) if grad is None or to_bias is None else form.fold_backward(grad, to_bias, *layer)
        for kind, value in zip((to_weights, to_gains, to_shifts), found, strict=True):
            kind.append(value)
    return [*to_weights, *to_biases, *to_gains, *to_shifts]
