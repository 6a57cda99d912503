"""World models on disk: one safetensors file with weights and description."""

from __future__ import annotations

from pathlib import Path

import torch

from pwm.runtime.checkpoint import described, load_module, module_tensors, read_described, write_described
from pwm.runtime.config import from_dict, to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.world_model.config import WorldModelConfig
from pwm.world_model.model import WorldModel

_KIND = "world model"


def world_model_path(run: PathLike) -> Path:
    """Path of the world model in a run folder."""
    return Path(run) / "world_model" / "weights.safetensors"


def describe(model: WorldModel) -> dict:
    """The description from which `build` makes the same (untrained) model."""
    return {
        "kind": _KIND,
        "config": to_dict(model.config),
        "tasks": list(model.tasks),
        "observation_dims": list(model.observation_dims),
        "action_dims": list(model.action_dims),
    }


def save_world_model(path: PathLike, model: WorldModel) -> None:
    """Write the model to `path`, atomically."""
    write_described(path, module_tensors(model, "model"), describe(model))


def load_world_model(path: PathLike, device: str | torch.device = "cpu") -> WorldModel:
    """Load a world model from a file or a run folder to `device`.

    Raises:
        PWMError: there is none, or the file is damaged or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        if not world_model_path(path).exists():
            raise PWMError(f"{path}: no world model in this run; run `pwm pretrain --out {path}` first")
        path = world_model_path(path)
    tensors, about = read_described(path, _KIND, device)
    model = build(about, path)
    load_module(model, "model", tensors, path)
    return model.to(device)


def build(about: dict, path: PathLike) -> WorldModel:
    """The untrained model of a description by `describe`; `path` is for error messages."""
    with described(path):
        config = from_dict(WorldModelConfig, about["config"], str(path))
        return WorldModel(config, about["tasks"], about["observation_dims"], about["action_dims"])
