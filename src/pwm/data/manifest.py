"""The content of an episode store's `manifest.json`, and the arrays that it lists for each task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pwm.runtime.config import from_dict, require, to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json, write_json

MANIFEST = "manifest.json"
FORMAT = "pwm-episodes"
VERSIONS = (1, 2)  # version 2 adds `qualities`, `quality.npy` and `origins`
UNTAGGED = 255  # code in `quality.npy` for an episode without a tag
ARRAYS = {"observations": "float32", "actions": "float32", "rewards": "float32", "terminations": "bool"}
SIZES = ("observation_dim", "action_dim", "episode_length", "action_repeat")
# A task's id is a folder name: no separators, no leading dot, no path traversal.
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

    @classmethod
    def of(cls, returns: np.ndarray) -> Returns:
        return cls(float(returns.mean()), float(np.sort(returns)[-10:].mean()))


@dataclass(frozen=True)
class Origin:
    """How some consecutive episodes of a task were collected (version 2).

    Episode i of these was reset with `episode_seeds(seed, task, ...)[first + i]`.
    """

    policy: str  # "random", "scripted", or the SHA-256 of a policy file
    noise: float  # standard deviation of the normal noise added to its actions
    seed: int
    first: int
    episodes: int  # how many
    quality: str | None  # their tag
    versions: dict[str, str]  # of the simulator's packages


@dataclass(frozen=True)
class TaskEntry:
    """The manifest's entry for one task. Lengths are in agent steps (after action repeat)."""

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
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`. Codes in `quality.npy` are positions in `qualities`, the list of tags."""

    format: str
    version: int
    tasks: tuple[TaskEntry, ...]
    qualities: tuple[str, ...] = ()


def sizes_of(task: Any) -> dict[str, int]:
    """The four `SIZES` of anything that has them: a `TaskSpec`, a `TaskEntry`, the `TaskEpisodes` of a store."""
    return {name: getattr(task, name) for name in SIZES}


def check_id(task: str, where: PathLike) -> None:
    """Raise PWMError if `task` cannot be a folder name; `where` is the store, for the message."""
    if not _ID.fullmatch(task):
        raise PWMError(f"{where}: task id {task!r}: use letters, digits, '.', '_' and '-', first a letter or digit")


def check_tag(tag: str, where: PathLike) -> None:
    """Raise PWMError if `tag` cannot be a quality tag."""
    if not _ID.fullmatch(tag) or len(tag) > 40:
        raise PWMError(f"{where}: quality {tag!r}: use letters, digits, '.', '_' and '-', at most 40")


def array_shapes(entry: TaskEntry) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a task; an episode of T actions has T + 1 observations."""
    return {
        "observations": (entry.transitions + entry.episodes, entry.observation_dim),
        "actions": (entry.transitions, entry.action_dim),
        "rewards": (entry.transitions,),
        "terminations": (entry.transitions,),
        "offsets": (entry.episodes + 1,),
        "quality": (entry.episodes,),
    }


def read_manifest(folder: PathLike) -> Manifest:
    """Read and check `folder/manifest.json`. Raises PWMError if it is missing or invalid."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise PWMError(f"{folder}: no episode store here (no {MANIFEST}); check the path, or write the store again")
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT or data.get("version") not in VERSIONS:
        known = " or ".join(map(str, VERSIONS))
        raise PWMError(f"{path}: format is not {FORMAT!r} version {known}; convert the data with this version of pwm")
    manifest = from_dict(Manifest, data, where=str(path))
    ids = [entry.id for entry in manifest.tasks]
    if not ids or len(set(ids)) < len(ids):
        raise PWMError(f"{path}: tasks must be listed, each once; write the store again")
    for tag in manifest.qualities:
        check_tag(tag, path)
    if len(set(manifest.qualities)) < len(manifest.qualities) or len(manifest.qualities) > UNTAGGED:
        raise PWMError(f"{path}: qualities must be listed, each once, {UNTAGGED} at most; write the store again")
    for entry in manifest.tasks:
        check_id(entry.id, path)
        for name in (*SIZES, "episodes", "transitions"):
            size = getattr(entry, name)
            require(size >= 1, f"{path}: task {entry.id}: {name}", size, "at least 1")
    return manifest


def write_manifest(folder: PathLike, tasks: tuple[TaskEntry, ...], qualities: tuple[str, ...]) -> None:
    """Write `folder/manifest.json`; as version 1 if there are neither tags nor origins."""
    plain = not qualities and not any(entry.origins for entry in tasks)
    data = to_dict(Manifest(FORMAT, VERSIONS[0 if plain else 1], tasks, qualities))
    if plain:
        del data["qualities"]
        for task in data["tasks"]:
            del task["origins"]
    write_json(Path(folder) / MANIFEST, data)
