"""The world model's perceptron: Linear -> LayerNorm -> Mish per hidden layer, and a task term in the first layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwm.nn.forms import form_for
from pwm.nn.plain import EPS
from pwm.nn.products import SharedWeights
from pwm.runtime.errors import PWMError


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
        if simnorm_group and outputs % simnorm_group:
            raise PWMError(
                f"simnorm_group {simnorm_group} does not divide the width {outputs} of the output; change one"
            )
        widths = [inputs + task_dim, *hidden, outputs]
        self.inputs = inputs
        self.simnorm_group = simnorm_group
        self.precision = "float32"
        self._frozen: tuple[tuple, list[Tensor], SharedWeights] | None = None
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        normed = widths[1:] if simnorm_group else widths[1:-1]
        self.norms = nn.ModuleList(nn.LayerNorm(width, EPS) for width in normed)

    def context(self, embedding: Tensor) -> Tensor:
        """The first layer's share [..., hidden[0]] of task embeddings [..., task_dim], bias included."""
        first = self.linears[0]
        return F.linear(embedding, first.weight[:, self.inputs :], first.bias)

    def share(self) -> SharedWeights:
        """The weights for calls between which they do not change, as in the steps of a rollout.

        Those of a frozen network are prepared once and kept until they change (what goes by `weight.data` is not
        noticed). A last layer without LayerNorm always
        multiplies in float32: its output is read as numbers.
        """
        first, *rest = self.linears
        weights = [first.weight[:, : self.inputs], *(linear.weight for linear in rest)]
        last = self.precision if self.simnorm_group else "float32"
        precisions = [*(self.precision for _ in rest), last]
        own = [linear.weight for linear in self.linears]
        if any(weight.requires_grad or weight.is_inference() for weight in own):
            self._frozen = None
            return SharedWeights(weights, precisions)
        state = (first.weight.device, *precisions, *((w.data_ptr(), w.dtype, w._version) for w in own))
        if self._frozen is None or self._frozen[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # what is kept may be differentiated through later
                shared = SharedWeights(weights, precisions, lasting=True)
                self._frozen = state, [weight.detach() for weight in own], shared  # their places are not given away
        return self._frozen[2]

    def __getstate__(self) -> dict:
        """For copies and pickles: what is kept for a frozen network can be made again."""
        return self.__dict__ | {"_frozen": None}

    def forward(self, x: Tensor, context: Tensor, shared: SharedWeights | None = None) -> Tensor:
        """Map x [..., inputs] with `context` [..., hidden[0]] (broadcast against x) to [..., outputs].

        Args:
            shared: what `share` returned, for calls that come in numbers.
        """
        shared = shared or self.share()
        lead, own = context.shape[:-1], x.shape[:-1]
        if len(lead) > len(own) or any(a not in (1, b) for a, b in zip(reversed(lead), reversed(own))):
            x = x.expand(*torch.broadcast_shapes(own, lead), -1)
        biases = [linear.bias for linear in self.linears[1:]]
        gains, shifts = [norm.weight for norm in self.norms], [norm.bias for norm in self.norms]
        inputs = (x, context, *shared.handles, *biases, *gains, *shifts)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            return _Perceptron.apply(shared, self.simnorm_group, *inputs)
        return _forward(shared, x, [context, *biases], gains, shifts, self.simnorm_group)


def _forward(
    shared: SharedWeights,
    x: Tensor,
    biases: Sequence[Tensor],
    gains: Sequence[Tensor],
    shifts: Sequence[Tensor],
    group: int | None,
    inputs: list | None = None,
    kept: list | None = None,
) -> Tensor:
    """The perceptron without a graph; `inputs` receives every layer's input, `kept` what its backward pass needs."""
    form, factors, last = form_for(biases), shared.factors, len(shared.factors) - 1
    x = x.to(factors[0].dtype)
    for i, bias in enumerate(biases):
        if inputs is not None:
            inputs.append(x)
        x = factors[i].times(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
        if i == last and not group:
            return x + bias
        dtype = factors[i + 1].dtype if i < last else bias.dtype
        wide = group if i == last else None
        x, needed = form.norm_act(x, bias, gains[i], shifts[i], wide, dtype, keep=kept is not None)
        if kept is not None:
            kept.append(needed)
    return x


class _Perceptron(torch.autograd.Function):
    """`_forward` with its gradient written out: one node of the graph, and no pass over memory that is not needed."""

    @staticmethod
    def forward(ctx, shared: SharedWeights, group: int | None, x: Tensor, context: Tensor, *parameters: Tensor):
        layers = len(shared.factors)
        biases, norms = parameters[layers : 2 * layers - 1], parameters[2 * layers - 1 :]
        gains, shifts = norms[: len(norms) // 2], norms[len(norms) // 2 :]
        inputs: list[Tensor] = []
        kept: list[tuple[Tensor, ...]] = []
        out = _forward(shared, x, [context, *biases], gains, shifts, group, inputs, kept)
        needed = ctx.needs_input_grad[4 : 4 + layers]
        inputs = [x if wanted else None for x, wanted in zip(inputs, needed, strict=True)]
        ctx.form, ctx.gathered, ctx.group = form_for([context, *biases]), shared.gathered, group
        ctx.factors = shared.factors
        ctx.bias_shapes = [context.shape, *(bias.shape for bias in biases)]
        ctx.sizes = [len(part) for part in kept]
        matrices = [factor.matrix for factor in shared.factors]  # they are not used, but must not change
        ctx.save_for_backward(*matrices, *inputs, *(tensor for part in kept for tensor in part))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers, normed, dtype = len(ctx.gathered), len(ctx.sizes), grad.dtype
        factors, saved = ctx.factors, list(ctx.saved_tensors)
        inputs, kept = saved[layers : 2 * layers], saved[2 * layers :]
        x_needed, context_needed, *needed = ctx.needs_input_grad[2:]
        weights_needed, norms_needed = needed[:layers], needed[2 * layers - 1 :]
        biases_needed = [context_needed, *needed[layers : 2 * layers - 1]]
        to_biases, to_gains, to_shifts = [None] * layers, [None] * normed, [None] * normed
        for i in reversed(range(layers)):
            shape = ctx.bias_shapes[i] if biases_needed[i] else None
            if i < normed:
                mine = kept[-ctx.sizes[i] :]
                del kept[-ctx.sizes[i] :]
                group = ctx.group if i == layers - 1 else None
                low, to_biases[i], to_gains[i], to_shifts[i] = ctx.form.norm_act_backward(
                    grad, mine, group, factors[i].dtype, shape, norms_needed[i]
                )
            else:
                to_biases[i] = grad.sum_to_size(shape) if shape is not None else None
                low = grad.to(factors[i].dtype)
            if weights_needed[i]:
                ctx.gathered[i].add(low.flatten(0, -2), inputs[i].flatten(0, -2))
            if i or x_needed:
                grad = factors[i].back(low.flatten(0, -2)).unflatten(0, low.shape[:-1])
        to_context, *to_biases = to_biases
        to_weights = [None] * layers
        to_x = grad.to(dtype) if x_needed else None
        return None, None, to_x, to_context, *to_weights, *to_biases, *to_gains, *to_shifts


@torch.no_grad()
def init_truncated_normal(module: nn.Module, std: float, generator: torch.Generator) -> None:
    """TD-MPC2's initialisation: weights from a normal of `std` cut at two standard deviations, biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            nn.init.zeros_(layer.bias)
