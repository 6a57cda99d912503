"""What `manifest.json` says about an episode store, and the arrays it promises for each task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pwm.runtime.config import from_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json

MANIFEST = "manifest.json"
FORMAT, VERSION = "pwm-episodes", 1
ARRAYS = {"observations": "float32", "actions": "float32", "rewards": "float32", "terminations": "bool"}
# A task's id is the name of its folder: no separators, nothing hidden, no way out of the store.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class FileEntry:
    """One array file: SHA-256 of its bytes, shape and dtype."""

    sha256: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Returns:
    """Mean undiscounted return of all episodes, and of the ten best."""

    mean: float
    best10_mean: float


@dataclass(frozen=True)
class TaskEntry:
    """One task's part of the manifest. Lengths are agent steps (after action repeat)."""

    id: str
    observation_dim: int
    action_dim: int
    episode_length: int
    action_repeat: int
    episodes: int
    transitions: int
    files: dict[str, FileEntry]
    returns: Returns
    source: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`."""

    format: str
    version: int
    tasks: tuple[TaskEntry, ...]


def check_id(task: str, where: PathLike) -> None:
    """Raise PWMError where `task` cannot name a folder of the store that `where` names."""
    if not _ID.fullmatch(task):
        raise PWMError(f"{where}: task id {task!r}: use letters, digits, '.', '_' and '-', first a letter or digit")


def array_shapes(entry: TaskEntry) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a task; an episode of T actions has T + 1 observations."""
    return {
        "observations": (entry.transitions + entry.episodes, entry.observation_dim),
        "actions": (entry.transitions, entry.action_dim),
        "rewards": (entry.transitions,),
        "terminations": (entry.transitions,),
        "offsets": (entry.episodes + 1,),
    }


def read_manifest(folder: PathLike) -> Manifest:
    """Read and check `folder/manifest.json`. Raises PWMError naming what is wrong."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise PWMError(f"{folder}: no episode store here (no {MANIFEST}); check the path, or write the store again")
    data = read_json(path)
    found = (data.get("format"), data.get("version")) if isinstance(data, dict) else None
    if found != (FORMAT, VERSION):
        raise PWMError(f"{path}: format is not {FORMAT!r} version {VERSION}; convert the data with this version of pwm")
    manifest = from_dict(Manifest, data, where=str(path))
    ids = [entry.id for entry in manifest.tasks]
    if not ids or len(set(ids)) < len(ids):
        raise PWMError(f"{path}: tasks must be listed, each once; write the store again")
    for entry in manifest.tasks:
        check_id(entry.id, path)
        sizes = ("observation_dim", "action_dim", "episode_length", "action_repeat", "episodes", "transitions")
        for name in sizes:
            if getattr(entry, name) < 1:
                raise PWMError(f"{path}: task {entry.id}: {name} is {getattr(entry, name)}, must be at least 1")
    return manifest
