"""Maps the tensor names of published checkpoints, in all known layouts, to one structure and back.

There are four layouts (docs/formats.md), which differ in how layers are numbered and critics are stored:

* "sequential": Linear and LayerNorm are separate modules, `_reward.0`, `_reward.1`, `_reward.3`, ...
* "flat": a LayerNorm belongs to its Linear, `_reward.0.ln`; critics are a numbered list, `_Qs.params.0`, ...
* "named": the same, but critics have names, `_Qs.params.0.ln.weight`.
* "world-model": no policy and no critics (what PWM keeps); the encoder's names may lack `state.`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pwm.runtime.errors import PWMError

STACKS = {
    "encoder": "_encoder.state",
    "dynamics": "_dynamics",
    "reward": "_reward",
    "termination": "_termination",
    "policy": "_pi",
    "critics": "_Qs",
    "target_critics": "_target_Qs",
}
"""Our name of each perceptron -> its name in a checkpoint."""
NORMED = ("encoder", "dynamics")
"""The perceptrons whose output passes a LayerNorm (and SimNorm)."""
ENSEMBLES = ("critics", "target_critics")
"""The perceptrons whose tensors have a leading axis, one entry per critic."""
BUFFERS = ("_action_masks", "log_std_min", "log_std_dif")

_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
_BOOKKEEPING = re.compile(r".*__(batch_size|device)")
# Copies of the critics under another name, and their modules without values.
_DUPLICATES = re.compile(r"_detach_Qs(_params|\.params)\..*|_(detach_|target_)?Qs\.module\..*")
_TRUNK = re.compile(r"_(encoder|dynamics|reward|terminat(?:ion|ed)|pi)\.(?:(state)\.)?((?:\d+\.)+)(ln\.)?(weight|bias)")
_RENAMED = {"pi": "policy", "terminated": "termination"}
_CRITICS = re.compile(r"(_Qs|_target_Qs)(?:\.|_)params\.(?:(\d+)\.(ln\.)?(weight|bias)|(\d+))")
_AFTER = 1 << 30  # sorts `0.ln` after `0` and before `1`


class Layer(NamedTuple):
    """A Linear, weight [out, in] and bias [out], and the gain and shift [out] of its LayerNorm, if any.

    In an ensemble all four have a leading axis [critics].
    """

    weight: Tensor
    bias: Tensor
    gain: Tensor | None = None
    shift: Tensor | None = None


Stack = tuple[Layer, ...]


@dataclass(frozen=True)
class Agent:
    """A published checkpoint of any layout, with its own order of inputs and outputs."""

    layout: str
    """"sequential", "flat", "named" or "world-model"."""
    embedding: Tensor | None
    """[tasks, task_dim]; None in single-task files."""
    stacks: dict[str, Stack]
    """Some of `STACKS`: encoder, dynamics and reward always."""
    buffers: dict[str, Tensor] = field(default_factory=dict)
    """Some of `BUFFERS`."""


def is_state(value: Any) -> bool:
    """Whether `value` looks like the parameters of a published model: a dict with an encoder in it."""
    return isinstance(value, Mapping) and any("_encoder." in str(name) for name in value)


def read_agent(state: Mapping[Any, Any], where: str) -> Agent:
    """Parse a state dict of any known layout. `where` (the file) begins each message.

    Raises:
        PWMError: a name is unknown or missing, shapes do not match, or a number is not finite.
    """
    modules: dict[str, dict[tuple[int, ...], dict[str, Tensor]]] = {}
    found: dict[str, Tensor] = {}
    kinds = set()
    for raw, value in state.items():
        name = _WRAPPERS.sub("", str(raw))
        if _BOOKKEEPING.fullmatch(name) or _DUPLICATES.fullmatch(name):
            continue
        if not isinstance(value, Tensor) or not (value.is_floating_point() or name in BUFFERS):
            raise PWMError(f"{where}: entry {name} is no tensor of real numbers; the file is no known checkpoint")
        if name == "_task_emb.weight" or name in BUFFERS:
            found[name] = value.float()
        elif match := _TRUNK.fullmatch(name):
            stack, _, path, norm, kind = match.groups()
            key = tuple(int(part) for part in path.split(".")[:-1]) + ((_AFTER,) if norm else ())
            kinds |= {"fused"} if norm else set()
            place = modules.setdefault(_RENAMED.get(stack, stack), {}).setdefault(key, {})
            if kind in place:
                raise PWMError(f"{where}: {name} is there twice, under two names; the file is no known checkpoint")
            place[kind] = value
        elif match := _CRITICS.fullmatch(name):
            stack, index, norm, kind, number = match.groups()
            kinds.add("flat" if number else "named")
            key = (int(number) // 2,) if number else (int(index), *((_AFTER,) if norm else ()))
            kind = ("weight", "bias")[int(number) % 2] if number else kind
            critics = "critics" if stack == "_Qs" else "target_critics"
            modules.setdefault(critics, {}).setdefault(key, {})[kind] = value
        else:
            raise PWMError(f"{where}: {_unknown(name)}")
    for stack in ("encoder", "dynamics", "reward"):
        if stack not in modules:
            raise PWMError(f"{where}: has no {STACKS[stack]}.*; the file holds no complete world model")
    stacks = {stack: _stack(stack, modules[stack], where) for stack in STACKS if stack in modules}
    embedding = found.pop("_task_emb.weight", None)
    if embedding is not None and (embedding.ndim != 2 or not torch.isfinite(embedding).all()):
        raise PWMError(f"{where}: _task_emb.weight is no finite matrix; the file is damaged")
    return Agent(_layout(kinds, stacks), embedding, stacks, found)


def write_state(agent: Agent, layout: str) -> OrderedDict[str, Tensor]:
    """The state dict of an agent in a layout that TD-MPC2's code reads, "flat" or "named".

    Without target critics, the critics are their own targets, as at the start of TD-MPC2's training.
    """
    if layout not in ("flat", "named"):
        raise PWMError(f"layout {layout}: choose flat (TD-MPC2's loaders take it) or named (today's names)")
    state: OrderedDict[str, Tensor] = OrderedDict()
    if agent.embedding is not None:
        state["_task_emb.weight"] = agent.embedding
    stacks = dict(agent.stacks)
    if "critics" in stacks:
        stacks.setdefault("target_critics", stacks["critics"])
    if layout == "named" and "policy" in stacks:
        # TD-MPC2's defaults, in files that were saved without them.
        state["log_std_min"] = agent.buffers.get("log_std_min", torch.tensor(-10.0))
        state["log_std_dif"] = agent.buffers.get("log_std_dif", torch.tensor(12.0))
        if "_action_masks" in agent.buffers:
            state["_action_masks"] = agent.buffers["_action_masks"]
    for name, stack in stacks.items():
        if name not in ENSEMBLES:
            state |= {f"{STACKS[name]}.{key}": value for key, value in _named(stack).items()}
        elif layout == "flat":
            state |= {f"{STACKS[name]}.params.{i}": value for i, value in enumerate(_named(stack).values())}
        else:
            prefixes = ("_Qs.params", "_detach_Qs_params") if name == "critics" else ("_target_Qs_params",)
            state |= {f"{prefix}.{key}": value for prefix in prefixes for key, value in _named(stack).items()}
    return state


def _named(stack: Stack) -> dict[str, Tensor]:
    names = {}
    for i, layer in enumerate(stack):
        names |= {f"{i}.weight": layer.weight, f"{i}.bias": layer.bias}
        if layer.gain is not None and layer.shift is not None:
            names |= {f"{i}.ln.weight": layer.gain, f"{i}.ln.bias": layer.shift}
    return names


def _layout(kinds: set[str], stacks: Mapping[str, Stack]) -> str:
    if "fused" not in kinds:
        return "sequential"
    return "world-model" if "critics" not in stacks else "named" if "named" in kinds else "flat"


def _stack(name: str, modules: dict[tuple[int, ...], dict[str, Tensor]], where: str) -> Stack:
    """The layers in order: a matrix begins a layer, a vector is the LayerNorm of the previous one."""
    lead = 1 if name in ENSEMBLES else 0
    # From one Linear to the next: as numbered with their LayerNorm, in a list of pairs, or with LayerNorm and Mish.
    stride = 1 if any(key[-1] == _AFTER for key in modules) else 2 if lead else 3
    layers: list[Layer] = []
    linears: list[int] = []
    for key in sorted(modules):
        pair = modules[key]
        place = f"{STACKS[name]}.{'.'.join('ln' if part == _AFTER else str(part) for part in key)}"
        if set(pair) != {"weight", "bias"}:
            raise PWMError(f"{where}: {place} lacks its weight or its bias; the file is damaged or no known checkpoint")
        weight, bias = pair["weight"].float(), pair["bias"].float()
        if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise PWMError(f"{where}: {place} holds NaN or infinity; take another checkpoint")
        last = layers[-1] if layers else None
        if weight.ndim == 2 + lead and bias.shape == weight.shape[:-1]:
            if last is not None and (last.gain is None or last.weight.shape[-2] != weight.shape[-1]):
                raise PWMError(f"{where}: {place} does not follow the layer before it; no architecture of TD-MPC2")
            if key[-1] != linears[-1] + stride if linears else key[-1] > (stride == 3):
                raise PWMError(f"{where}: the layer before {place} is missing; the file is damaged")
            linears.append(key[-1])
            layers.append(Layer(weight, bias))
        elif last is not None and last.gain is None and weight.shape == bias.shape == last.bias.shape:
            layers[-1] = last._replace(gain=weight, shift=bias)
        else:
            raise PWMError(f"{where}: {place} has the shape {list(weight.shape)}, which fits no layer of TD-MPC2")
    if (layers[-1].gain is not None) != (name in NORMED) or len(layers) < 2:
        raise PWMError(f"{where}: {STACKS[name]} does not end as in TD-MPC2; no known architecture")
    return tuple(layers)


def _unknown(name: str) -> str:
    if name.startswith("_encoder.rgb"):
        return "its encoder reads pictures (_encoder.rgb); only models of state observations can be used"
    return f"unknown entry {name:.80}; known are the layouts of TD-MPC2 and PWM in docs/formats.md"
