"""Infers architecture, size and tasks of a published checkpoint from its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task, list_tasks, task_set
from pwm.world_model.checkpoints.layouts import ENSEMBLES, Agent
from pwm.world_model.config import SIZES, WorldModelConfig
from pwm.world_model.model import prefix_mask

_SETS = {(30, 24, 6): "mt30", (80, 39, 6): "mt80"}
"""(rows of the embedding, padded observation width, padded action width) -> task set."""
_BINS, _GROUP = WorldModelConfig.bins, WorldModelConfig.simnorm_group


@dataclass(frozen=True)
class Widths:
    """The architecture of a checkpoint, and the padded widths of its inputs."""

    config: WorldModelConfig
    observation_dim: int
    action_dim: int
    rows: int
    """Tasks of the embedding; 1 for single-task files."""
    critics: int
    """Number of critics; 0 if the file has none."""


@dataclass(frozen=True)
class TaskSizes:
    """The tasks of a checkpoint in the order of its embedding, and their sizes."""

    set_name: str | None
    """"mt30", "mt80", or None."""
    ids: tuple[str, ...]
    observation_dims: tuple[int, ...]
    action_dims: tuple[int, ...]


def infer_widths(agent: Agent, where: str) -> Widths:
    """Infer all widths from the shapes of the tensors.

    Raises:
        PWMError: the networks do not fit together, or are not supported by our world model.
    """
    stacks = agent.stacks
    outputs = {name: stack[-1].weight.shape[-2] for name, stack in stacks.items()}
    inputs = {name: stack[0].weight.shape[-1] for name, stack in stacks.items()}
    hidden = {name: tuple(layer.weight.shape[-2] for layer in stack[:-1]) for name, stack in stacks.items()}
    latent = outputs["encoder"]
    rows, task_dim = (1, 0) if agent.embedding is None else agent.embedding.shape
    observation = inputs["encoder"] - task_dim
    action = inputs["dynamics"] - latent - task_dim
    if observation < 1 or action < 1 or outputs["dynamics"] != latent:
        raise PWMError(f"{where}: encoder, dynamics and task embedding do not fit together; no model of TD-MPC2")
    if outputs["reward"] != _BINS:
        raise PWMError(
            f"{where}: its reward has {outputs['reward']} outputs; only the two-hot code of {_BINS} bins is known"
        )
    if latent % _GROUP:
        raise PWMError(f"{where}: its latent has width {latent}, no multiple of {_GROUP}; no SimNorm of TD-MPC2")
    wide, narrow = latent + task_dim + action, latent + task_dim
    expected = {"reward": (wide, _BINS), "termination": (narrow, 1), "policy": (narrow, 2 * action)}
    expected |= dict.fromkeys(ENSEMBLES, (wide, _BINS))
    for name, pair in expected.items():
        if name in stacks and (inputs[name], outputs[name]) != pair:
            found = f"{inputs[name]} to {outputs[name]}"
            raise PWMError(f"{where}: {name} maps {found}, expected {pair[0]} to {pair[1]}; no model of TD-MPC2")
    for name in ("reward", "termination"):
        if hidden.get(name, hidden["dynamics"]) != hidden["dynamics"]:
            raise PWMError(f"{where}: hidden layers of {name} and dynamics differ; no model of TD-MPC2")
    encoder, units = hidden["encoder"], hidden["dynamics"]
    config = WorldModelConfig(latent, encoder, units, task_dim, episodic="termination" in stacks)
    critics = stacks["critics"][0].weight.shape[0] if "critics" in stacks else 0
    return Widths(config, observation, action, rows, critics)


def size_name(config: WorldModelConfig) -> str | None:
    """The published size ("1", "5", "19", "48", "317") with these widths; None for any other.

    Ignores the width of the task embedding; the latent of "19" is 512 in mt30's model and 768 elsewhere.
    """
    for name in ("1", "5", "19", "48", "317"):
        size = SIZES[name]
        latents = {size.latent_dim, 512} if name == "19" else {size.latent_dim}
        if (config.encoder_units, config.units) == (size.encoder_units, size.units) and config.latent_dim in latents:
            return name
    return None


def find_tasks(agent: Agent, widths: Widths, names: Sequence[str], where: str) -> TaskSizes:
    """The tasks of a checkpoint: the task set with its widths, or the given names.

    The task of a single-task file need not be registered: its sizes are then those of the file.

    Raises:
        PWMError: the task set is unknown and no names are given, or names and file do not agree.
    """
    key = (widths.rows, widths.observation_dim, widths.action_dim)
    set_name = _SETS.get(key) if agent.embedding is not None else None
    if not names and set_name is None:
        shape = f"{key[0]} task{'s' if key[0] > 1 else ''}, observations of width {key[1]}, actions of width {key[2]}"
        raise PWMError(f"{where}: {shape} is no known task set; name its tasks in order with --task")
    if names and len(names) != widths.rows:
        raise PWMError(f"{where}: has {widths.rows} tasks, but --task names {len(names)}; name them all, in order")
    if not names:
        specs = task_set(set_name)
    elif widths.rows == 1 and names[0] not in list_tasks():
        return TaskSizes(None, (names[0],), (widths.observation_dim,), (widths.action_dim,))
    else:
        specs = tuple(get_task(name) for name in names)
        set_name = set_name if set_name and specs == task_set(set_name) else None
    columns = zip(*((spec.id, spec.observation_dim, spec.action_dim) for spec in specs), strict=True)
    sizes = TaskSizes(set_name, *columns)
    known, found = (max(sizes.observation_dims), max(sizes.action_dims)), key[1:]
    if known != found:
        label = sizes.set_name or ", ".join(sizes.ids)
        raise PWMError(
            f"{where}: has (observation, action) widths {found}, but {label:.80} has {known}; name the right tasks"
        )
    masks = agent.buffers.get("_action_masks")
    if masks is not None and not torch.equal(masks, prefix_mask(sizes.action_dims)):
        raise PWMError(f"{where}: its action masks are not those of these tasks; name the right tasks with --task")
    return sizes
