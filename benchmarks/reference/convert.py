"""The library's networks as reference networks with the same weights, in the reference's layout.

Two things differ. The library's SimNorm keeps the members of a group `latent_dim / group` apart, the reference keeps
them side by side, so the latent's entries change places. And a fleet stacks its members' weights, input axis first.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmarks.reference import networks
from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.nn.perceptron import ConditionedMLP, FleetMLP
from pwm.world_model.config import WorldModelConfig
from pwm.world_model.model import WorldModel


def latent_order(config: WorldModelConfig) -> Tensor:
    """int64 [latent_dim]: entry i of a reference latent is entry `latent_order[i]` of the library's."""
    return torch.arange(config.latent_dim).view(config.simnorm_group, -1).T.flatten()


@torch.no_grad()
def convert_world_model(model: WorldModel) -> networks.WorldModel:
    """A reference world model that equals `model`, up to the order of the latent's entries.

    Raises:
        ValueError: the model normalises observations or has a termination head; the reference knows neither.
    """
    if bool(model.observation_shift.any()) or bool((model.observation_scale > 1).any()) or "termination" in model.heads:
        raise ValueError("the reference world model neither normalises observations nor learns terminations")
    like = model.embedding
    out = networks.WorldModel(model.config, model.observation_dim, model.action_mask.cpu())
    out.to(dtype=like.dtype)
    out.bins.copy_(torch.linspace(model.config.bin_low, model.config.bin_high, model.config.bins, dtype=like.dtype))
    out.embedding.weight.copy_(like)
    order = latent_order(model.config)
    _copy_conditioned(out.encoder, model.encoder, None, order)
    _copy_conditioned(out.dynamics, model.dynamics, order, order)
    _copy_conditioned(out.reward, model.heads["reward"], order, None)
    return out.to(like.device)


@torch.no_grad()
def convert_actor(actor: FleetActor, member: int, config: PolicyConfig, model: WorldModelConfig) -> networks.Actor:
    """The reference's actor with one member's weights."""
    out = networks.Actor(model.latent_dim, actor.log_std.shape[-1], config).to(actor.log_std.dtype)
    out.log_std.copy_(actor.log_std[member, 0])
    _copy_member(out.mu, actor.net, member, latent_order(model))
    return out.to(actor.log_std.device)


@torch.no_grad()
def convert_critics(critic: FleetCritic, member: int, config: PolicyConfig, model: WorldModelConfig) -> nn.ModuleList:
    """The reference's critics with one member's weights."""
    like = critic.net.weights[0]
    out = networks.make_critics(model.latent_dim, config).to(like.dtype)
    for i, single in enumerate(out):
        _copy_member(single, critic.net, member * critic.critics + i, latent_order(model))
    return out.to(like.device)


def as_gradients(module: nn.Module) -> nn.Module:
    """Replace every parameter of `module` by its gradient, so that a converter rearranges gradients like weights."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    return module


def _copy_conditioned(out: nn.Sequential, mlp: ConditionedMLP, inputs: Tensor | None, outputs: Tensor | None) -> None:
    """Weights of `mlp` into `out`; `inputs`, `outputs` say which of its axes run over the latent, and in what order."""
    linears, norms = _of_kind(out, nn.Linear), _of_kind(out, nn.LayerNorm)
    for own, theirs in zip(linears, mlp.linears, strict=True):
        own.load_state_dict(theirs.state_dict())
    for own, theirs in zip(norms, mlp.norms, strict=True):
        own.load_state_dict(theirs.state_dict())
    if inputs is not None:
        weight = linears[0].weight
        weight[:, : len(inputs)] = weight[:, inputs]
    if outputs is not None:
        for tensor in (linears[-1].weight, linears[-1].bias, norms[-1].weight, norms[-1].bias):
            tensor.copy_(tensor[outputs])


def _copy_member(out: nn.Sequential, net: FleetMLP, member: int, inputs: Tensor) -> None:
    for own, weight, bias in zip(_of_kind(out, nn.Linear), net.weights, net.biases, strict=True):
        own.weight.copy_(weight[member].T)
        own.bias.copy_(bias[member, 0])
    for own, gain, shift in zip(_of_kind(out, nn.LayerNorm), net.gains, net.shifts, strict=True):
        own.weight.copy_(gain[member, 0])
        own.bias.copy_(shift[member, 0])
    first = _of_kind(out, nn.Linear)[0].weight
    first.copy_(first[:, inputs])


def _of_kind(layers: Iterable[nn.Module], kind: type) -> list:
    return [layer for layer in layers if isinstance(layer, kind)]
