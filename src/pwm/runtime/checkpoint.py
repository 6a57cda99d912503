"""Training state as one safetensors file, from which training resumes to the same bits."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, open_tensors, read_tensors, write_tensors

if TYPE_CHECKING:  # `pwm report` reads headers and should not have to import PyTorch
    import torch
    from torch import Tensor


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The optimiser's moments and step counts under names `prefix.<parameter number>.<name>`."""
    import torch

    state = optimiser.state_dict()["state"]
    return {f"{prefix}.{i}.{name}": torch.as_tensor(value) for i, s in state.items() for name, value in s.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Restore the state that `optimiser_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix + "."):
            _, number, field = name.rsplit(".", 2)
            state.setdefault(int(number), {})[field] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def load_module(module: torch.nn.Module, prefix: str, tensors: dict[str, Tensor], path: PathLike) -> None:
    """Load the parameters stored under `prefix.`. Raises PWMError if they do not fit the module."""
    own = {name[len(prefix) + 1 :]: t for name, t in tensors.items() if name.startswith(prefix + ".")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise PWMError(f"{path}: does not fit its own description ({reason:.200}); the file is damaged") from error


def module_tensors(module: torch.nn.Module, prefix: str) -> dict[str, Tensor]:
    """The parameters and buffers of a module under names that start with `prefix.`."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal hash of names and values, which identifies a set of weights."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def write_described(path: PathLike, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Atomically write tensors with a JSON description in the header."""
    write_tensors(path, tensors, {"pwm": json.dumps(description, sort_keys=True)})


def read_described(
    path: PathLike, kind: str | tuple[str, ...], device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict]:
    """Read (tensors, description) of a file by `write_described`, whose "kind" must be `kind` (or one of several).

    Raises:
        PWMError: the file is missing, damaged, or of another kind.
    """
    tensors, metadata = read_tensors(path, device)
    try:
        description = json.loads(metadata["pwm"])
        found = description["kind"]
    except (KeyError, TypeError, ValueError) as error:
        raise PWMError(f"{path}: was not written by pwm; pass a file or run folder that pwm made") from error
    kinds = (kind,) if isinstance(kind, str) else kind
    if found not in kinds:
        raise PWMError(f"{path}: holds a {found}, not a {' or '.join(kinds)}; pass the right file")
    return tensors, description


def peek_description(path: PathLike) -> dict[str, Any]:
    """The description in a file's header, without reading its tensors; empty if there is none or it is damaged."""
    try:
        with open_tensors(path, "numpy") as file:
            metadata = file.metadata() or {}
        return json.loads(metadata["pwm"])
    except (PWMError, KeyError, TypeError, ValueError):
        return {}  # loading it will report what is wrong


def updates_done(path: PathLike) -> int:
    """Number of updates done at a checkpoint, from its header; 0 if there is none or it is damaged."""
    return int(peek_description(path).get("updates", 0))


def tensor_sizes(path: PathLike) -> dict[str, int]:
    """Number of entries of each floating-point tensor in a file, from its header. Raises PWMError if it is damaged."""
    with open_tensors(path, "numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: math.prod(part.get_shape()) for name, part in slices.items() if "F" in part.get_dtype()}


def check_same(path: PathLike, about: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise PWMError, naming the entry, if a checkpoint's description differs from the `expected` entries."""
    for name, now in expected.items():
        before = about.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            check_same(path, _named(name, before), _named(name, now))
        elif before != now:
            cure = "use the same value, or another --out for a new run"
            raise PWMError(f"{path}: was made with {name} = {before!s:.60}, now it is {now!s:.60}; {cure}")


def _named(name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}.{key}": value for key, value in entries.items()}
