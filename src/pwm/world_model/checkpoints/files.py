"""Imports a published checkpoint as a world model, and exports a run's world model as a TD-MPC2 checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pwm.runtime.checkpoint import read_described, write_described
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, sha256, write_atomic
from pwm.world_model.checkpoints.archive import read_archive
from pwm.world_model.checkpoints.convert import HEADS, heads_of, to_agent, to_world_model
from pwm.world_model.checkpoints.layouts import is_state, read_agent, write_state
from pwm.world_model.checkpoints.widths import find_tasks, infer_widths, size_name
from pwm.world_model.files import load_world_model, world_model_path
from pwm.world_model.model import WorldModel

_HEADS = "TD-MPC2 heads"
_PLACES = ("model", "world_model")
"""Keys that may hold the parameters: `model` in TD-MPC2's and PWM's files, `world_model` in PWM's later ones."""


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint, converted."""

    model: WorldModel
    heads: dict[str, torch.Tensor]
    """Policy and critics as `heads_of` gives them; empty where the file has none."""
    about: dict[str, Any]
    """Facts about the file: file, sha256, layout, size, task_set, tasks, heads, critics, ignored."""


@dataclass(frozen=True)
class Exported:
    """What `export_checkpoint` wrote."""

    networks: list[str]
    """The perceptrons in the file: encoder, dynamics, reward, and what else there is."""
    settings: dict[str, float]
    """The settings that TD-MPC2's code needs to build the same model."""


def heads_path(run: PathLike) -> Path:
    """Path in a run folder of the policy and critics that came with an imported world model."""
    return world_model_path(run).with_name("tdmpc2_heads.safetensors")


def read_checkpoint(file: PathLike, tasks: Sequence[str] = (), step: Callable[[], None] = lambda: None) -> Checkpoint:
    """Convert a checkpoint of TD-MPC2 or PWM, of any published layout and size.

    `tasks` names the tasks of its embedding in order, if they are not a published set. `step` is called after reading
    and after converting.

    Raises:
        PWMError: the file is unreadable, malicious, or not such a checkpoint.
    """
    where = str(file)
    state, ignored = _state_in(read_archive(file), where)
    agent = read_agent(state, where)
    widths = infer_widths(agent, where)
    sizes = find_tasks(agent, widths, tasks, where)
    step()
    about = {"file": Path(file).name, "sha256": sha256(file), "layout": agent.layout}
    about |= {"size": size_name(widths.config), "task_set": sizes.set_name, "tasks": list(sizes.ids)}
    heads = [name for name in agent.stacks if name in HEADS]
    about |= {"heads": heads, "critics": widths.critics, "ignored": ignored}
    checkpoint = Checkpoint(to_world_model(agent, widths, sizes), heads_of(agent, widths), about)
    step()
    return checkpoint


def save_heads(run: PathLike, checkpoint: Checkpoint) -> None:
    """Save a checkpoint's policy and critics, if any, to a run folder."""
    if checkpoint.heads:
        about = {"kind": _HEADS, "critics": checkpoint.about["critics"]}
        write_described(heads_path(run), checkpoint.heads, about)


def read_heads(run: PathLike) -> dict[str, torch.Tensor]:
    """The policy and critics that were imported with a run's world model; empty if there are none."""
    path = heads_path(run)
    return read_described(path, _HEADS)[0] if path.exists() else {}


def export_checkpoint(run: PathLike, file: PathLike, layout: str = "flat") -> Exported:
    """Write a run's world model, with imported policy and critics if any, as `torch.save({"model": ...})`.

    `layout` is "flat" or "named", see `pwm.world_model.checkpoints.layouts`.

    Raises:
        PWMError: there is no world model, or TD-MPC2 has no such architecture.
    """
    model = load_world_model(run)
    heads, config = read_heads(run) if Path(run).is_dir() else {}, model.config
    if len(set(config.encoder_units)) != 1 or len(config.units) != 2 or len(set(config.units)) != 1:
        raise PWMError(
            f"{run}: TD-MPC2 has one width per network and two hidden layers after the encoder, this model has "
            f"encoder_units {config.encoder_units} and units {config.units}; it cannot be exported"
        )
    agent = to_agent(model, heads)
    state = write_state(agent, layout)

    def write(stream: BinaryIO) -> None:
        try:
            torch.save({"model": state}, stream)
        except RuntimeError as error:  # torch's form of an OSError
            raise PWMError(f"{file}: cannot write all of it; check the free space") from error

    write_atomic(file, write)
    layers, width = len(config.encoder_units) + 1, config.units[0]
    settings = {"enc_dim": config.encoder_units[0], "num_enc_layers": layers, "mlp_dim": width}
    settings |= {"latent_dim": config.latent_dim, "task_dim": config.task_dim, "simnorm_dim": config.simnorm_group}
    settings |= {"num_bins": config.bins, "vmin": config.bin_low, "vmax": config.bin_high}
    if "critics" in agent.stacks:
        settings["num_q"] = agent.stacks["critics"][0].weight.shape[0]
    return Exported(list(agent.stacks), settings)


def _state_in(content: Any, where: str) -> tuple[Mapping[Any, Any], list[str]]:
    """The model's parameters in a file's content, and the names of its other entries."""
    if is_state(content):
        return content, []
    found = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        for place in _PLACES:
            if is_state(content.get(place)):
                return content[place], sorted(str(name) for name in content if name != place)
        found = ", ".join(sorted(map(str, content))[:8]) or "nothing"
    raise PWMError(f"{where}: no model of TD-MPC2 or PWM in it (it has {found:.200}); no known checkpoint")
