"""Converts the weights of a published agent to our order and back.

Two orders differ. In TD-MPC2's SimNorm the members of a group are adjacent, in ours `latent_dim / group` apart (see
`pwm.nn.activations`), so latent units are permuted. And TD-MPC2's networks read [z, e, a], ours [z, a, e]. Both are
permutations, so nothing is rounded and converting back gives the same bits.
"""

from __future__ import annotations

from itertools import zip_longest

import torch
from torch import Tensor

from pwm.nn.perceptron import ConditionedMLP
from pwm.runtime.errors import PWMError
from pwm.world_model.checkpoints.layouts import BUFFERS, ENSEMBLES, NORMED, Agent, Layer, Stack
from pwm.world_model.checkpoints.widths import TaskSizes, Widths
from pwm.world_model.config import WorldModelConfig
from pwm.world_model.model import WorldModel, prefix_mask

_READ_ACTIONS = ("dynamics", "reward", *ENSEMBLES)
HEADS = ("policy", *ENSEMBLES)
"""The perceptrons that a world model does not have."""
_TRUNK = ("encoder", "dynamics", "reward", "termination")


def latent_order(config: WorldModelConfig) -> Tensor:
    """int64 [latent_dim]: entry i of our latent is entry `latent_order[i]` of TD-MPC2's."""
    return torch.arange(config.latent_dim).view(-1, config.simnorm_group).T.flatten()


@torch.no_grad()
def to_world_model(agent: Agent, widths: Widths, tasks: TaskSizes) -> WorldModel:
    """Our world model with an agent's weights.

    Embeddings with norms above 1 are scaled to norm 1, as TD-MPC2 does at every look-up.
    """
    model = WorldModel(widths.config, tasks.ids, tasks.observation_dims, tasks.action_dims)
    if agent.embedding is not None:
        model.embedding.copy_(agent.embedding)
    model.project_embedding()
    for name in _TRUNK:
        if name in agent.stacks:
            stack = reorder(name, agent.stacks[name], widths.config, widths.action_dim)
            _fill(model.networks()[name], stack)
    return model


def heads_of(agent: Agent, widths: Widths) -> dict[str, Tensor]:
    """Policy, critics and their buffers in our order, as `<head>.<layer>.<tensor>`; empty if there are none.

    They read our latents, as [z, e] (policy) and [z, a, e] (critics).
    """
    heads = [name for name in HEADS if name in agent.stacks]
    tensors = {f"buffers.{name}": agent.buffers[name] for name in BUFFERS[1:] if heads and name in agent.buffers}
    for name in heads:
        for i, layer in enumerate(reorder(name, agent.stacks[name], widths.config, widths.action_dim)):
            parts = layer._asdict().items()
            tensors |= {f"{name}.{i}.{part}": value for part, value in parts if value is not None}
    return tensors


@torch.no_grad()
def to_agent(model: WorldModel, heads: dict[str, Tensor]) -> Agent:
    """The agent in TD-MPC2's order: the reverse of `to_world_model` and `heads_of`.

    Raises:
        PWMError: the model normalises observations or scales rewards per task, which TD-MPC2 does not support.
    """
    mask = prefix_mask(model.observation_dims)
    if bool(model.observation_shift.any()) or not torch.equal(model.observation_scale.cpu(), mask):
        raise PWMError(
            "the world model scales observations per task, and TD-MPC2 does not; "
            "pre-train one with --preset as_paper to export it"
        )
    if bool((model.reward_scale != 1.0).any()):
        k = int((model.reward_scale != 1.0).nonzero()[0])
        raise PWMError(
            f"the world model divides the rewards of {model.tasks[k]} by {float(model.reward_scale[k]):g}, and TD-MPC2 "
            "does not; scale the rewards of the data, and pre-train one on them, to export it"
        )
    stacks = {name: _stack_of(network) for name, network in model.networks().items() if name in _TRUNK}
    stacks |= {name: _head(name, heads) for name in HEADS if f"{name}.0.weight" in heads}
    stacks = {name: reorder(name, s, model.config, model.action_dim, back=True) for name, s in stacks.items()}
    embedding = model.embedding.detach().cpu().clone() if model.config.task_dim else None
    buffers = {name.removeprefix("buffers."): value for name, value in heads.items() if name.startswith("buffers.")}
    if embedding is not None:
        buffers["_action_masks"] = model.action_mask.cpu().clone()
    return Agent("named" if "critics" in stacks else "world-model", embedding, stacks, buffers)


def reorder(name: str, stack: Stack, config: WorldModelConfig, action_dim: int, back: bool = False) -> Stack:
    """One perceptron with inputs and outputs in our order, or with `back` in TD-MPC2's.

    Returns copies, since the given tensors may be views of a file that will change.
    """
    order = latent_order(config)
    layers = [Layer(*(None if tensor is None else tensor.clone() for tensor in layer)) for layer in stack]
    if name in NORMED:
        rows = torch.argsort(order) if back else order
        layers[-1] = Layer(*(tensor[rows] for tensor in layers[-1]))
    if name != "encoder":
        z, e = config.latent_dim, config.task_dim
        columns = [order, torch.arange(z, z + e)]
        if name in _READ_ACTIONS:
            columns.insert(1, torch.arange(z + e, z + e + action_dim))
        chosen = torch.cat(columns)
        chosen = torch.argsort(chosen) if back else chosen
        layers[0] = layers[0]._replace(weight=layers[0].weight[..., chosen])
    return tuple(layers)


def _fill(mlp: ConditionedMLP, stack: Stack) -> None:
    for linear, layer in zip(mlp.linears, stack, strict=True):
        linear.weight.copy_(layer.weight)
        linear.bias.copy_(layer.bias)
    for norm, layer in zip(mlp.norms, stack, strict=False):
        norm.weight.copy_(layer.gain)
        norm.bias.copy_(layer.shift)


def _stack_of(mlp: ConditionedMLP) -> Stack:
    pairs = [[m for m in pair if m is not None] for pair in zip_longest(mlp.linears, mlp.norms)]
    return tuple(Layer(*(t.detach().cpu().clone() for m in pair for t in (m.weight, m.bias))) for pair in pairs)


def _head(name: str, tensors: dict[str, Tensor]) -> Stack:
    layers = []
    while f"{name}.{len(layers)}.weight" in tensors:
        layers.append(Layer(*(tensors.get(f"{name}.{len(layers)}.{part}") for part in Layer._fields)))
    return tuple(layers)
