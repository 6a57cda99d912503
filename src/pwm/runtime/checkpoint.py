"""Training state as one safetensors file, from which training resumes to the same bits."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, open_tensors, parse_json, read_tensors, write_tensors

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
    description = parse_json(metadata.get("pwm", "null"), path)
    found = description.get("kind") if isinstance(description, dict) else None
    if not isinstance(found, str):
        raise PWMError(f"{path}: was not written by pwm; pass a file or run folder that pwm made")
    kinds = (kind,) if isinstance(kind, str) else kind
    if found not in kinds:
        raise PWMError(f"{path}: holds a {found}, not a {' or '.join(kinds)}; pass the right file")
    return tensors, description


def peek_description(path: PathLike) -> dict[str, Any]:
    """The description in a file's header, without reading its tensors; empty if there is none or it is damaged."""
    try:
        with open_tensors(path, "numpy") as file:
            description = parse_json((file.metadata() or {}).get("pwm", "null"), path)
    except PWMError:
        return {}  # loading it will report what is wrong
    return description if isinstance(description, dict) else {}


def updates_done(path: PathLike) -> int:
    """Number of updates done at a checkpoint, from its header; 0 if there is none or it is damaged."""
    done = peek_description(path).get("updates", 0)
    return done if type(done) is int else 0


@contextlib.contextmanager
def described(path: PathLike) -> Iterator[None]:
    """Around building something from a description: what it lacks or has of another type is a damaged file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PWMError(f"{path}: its description is incomplete ({reason:.200}); the file is damaged") from error


def tensor_sizes(path: PathLike) -> dict[str, int]:
    """Number of entries of each floating-point tensor in a file, from its header. Raises PWMError if it is damaged."""
    with open_tensors(path, "numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: math.prod(part.get_shape()) for name, part in slices.items() if "F" in part.get_dtype()}


def check_same(path: PathLike, about: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise PWMError, saying what changed, if a checkpoint's description differs from the `expected` entries."""
    for name, now in expected.items():
        if about.get(name) != now:
            raise PWMError(f"{path}: was made with {change(name, about.get(name), now)}")


_WORDS = {
    "data": "data",
    "fingerprint": "data",
    "world model": "world model",
    "world_model": "world model",
    "weights": "world model to begin with",
    "members": "tasks or seeds",
    "policies": "tasks or seeds",
    "tasks": "tasks",
}
"""Entries of a description that are a hash, or a list of what a run is about -> what they stand for."""
_PLAIN_SECTIONS = ("made_from", "members", "logs")
"""Parts of a description that are no settings."""


def change(name: str, before: Any, now: Any, where: str = "", section: str = "") -> str:
    """What differs between two values of a description's entry, in the user's words, and the cure.

    `where` says more about how it was before; `section` is what the entry belongs to.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        inner = next(key for key in (*now, *before) if before.get(key) != now.get(key))
        section = "" if name in _PLAIN_SECTIONS else f"{section}{name}."
        return change(inner, before.get(inner), now.get(inner), where, section)
    if name in _WORDS or section.startswith("task_files."):
        word, listed = _WORDS.get(name, f"file {name}"), isinstance(now, list) and isinstance(before, list)
        told = f" ({_listed(before)}; now {_listed(now)})" if listed else f" ({where})" if where else ""
        return f"other {word}{told}; use the same {word}, or another --out for a new run"
    told = "seed" if name == "seed" else f"the setting {section}{name} ="
    return f"{told} {_short(before)}, now it is {_short(now)}; use the same value, or another --out for a new run"


def _listed(value: list) -> str:
    return _short(", ".join(" seed ".join(map(str, item)) if isinstance(item, list) else str(item) for item in value))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
