"""A summary of each task of a store, and a full check of its data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pwm.data.manifest import MANIFEST, Manifest, Returns
from pwm.data.store import EpisodeStore, open_with
from pwm.data.writer import ACTION_TOLERANCE
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.tasks.registry import get_task, list_tasks

_BARS = " ▁▂▃▄▅▆▇█"
_ROWS = 1 << 20


@dataclass(frozen=True)
class TaskSummary:
    """One task of a store."""

    id: str
    observation_dim: int
    action_dim: int
    transitions: int
    lengths: np.ndarray
    returns: np.ndarray  # undiscounted, float32 [episodes]
    qualities: dict[str, int]  # number of episodes by tag; "" counts those without
    size: int  # bytes on disk
    source: str | None

    def histogram(self) -> np.ndarray:
        """Number of episodes in ten equal bins from the lowest to the highest return, int64 [10]."""
        return np.histogram(self.returns, bins=10)[0]


def summarise(store: EpisodeStore) -> Iterator[TaskSummary]:
    """One summary per task; of the large arrays only rewards are read."""
    entries = {entry.id: entry for entry in store.manifest.tasks}
    for task in store.tasks:
        data, entry = store[task], entries[task]
        tags, counts = np.unique(store.quality(task), return_counts=True)
        qualities = dict(zip(tags.tolist(), counts.tolist(), strict=True))
        size = sum((store.path / task / name).stat().st_size for name in entry.files)
        sizes = (data.observation_dim, data.action_dim, len(data.rewards))
        yield TaskSummary(task, *sizes, data.lengths, store.returns(task), qualities, size, entry.source)


def bars(counts: np.ndarray) -> str:
    """Counts as a row of bars; counts above zero are always visible."""
    heights = np.ceil(counts / max(1, counts.max()) * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[h] for h in heights)


def check_task(path: PathLike, manifest: Manifest, task: str) -> list[str]:
    """Check all data of one task; returns a line per problem.

    Checks files, shapes, checksums, finite numbers and terminations (`open_store` with `verify`), the range of
    actions, episode lengths, the manifest's returns, and the task's sizes if the task is registered. Raises PWMError if
    the store has no such task.
    """
    entries = {entry.id: entry for entry in manifest.tasks}
    try:
        store = open_with(manifest, path, [task], verify=True)
    except PWMError as error:
        if task not in entries:
            raise
        return [str(error)]
    entry, data, where, problems = entries[task], store[task], f"{path}: task {task}", []
    for first in range(0, len(data.actions), _ROWS):
        beyond = np.abs(data.actions[first : first + _ROWS]).max(axis=1) > 1.0 + ACTION_TOLERANCE
        if beyond.any():
            row = first + int(beyond.argmax())
            episode = int(np.searchsorted(data.offsets, row, side="right")) - 1
            problems.append(f"{where}, episode {episode}: an action is outside [-1, 1]; scale it, or leave it out")
            break
    if data.lengths.max() > entry.episode_length:
        problems.append(f"{where}: an episode has {data.lengths.max()} steps, more than {entry.episode_length}")
    for name, value in to_dict(Returns.of(store.returns(task))).items():
        if not np.isclose(getattr(entry.returns, name), value, rtol=1e-4, atol=1e-3):
            problems.append(f"{where}: returns.{name} is {getattr(entry.returns, name):g}, the data say {value:g}")
    if task in list_tasks():
        spec = get_task(task)
        for name in ("observation_dim", "action_dim", "action_repeat"):
            if getattr(spec, name) != getattr(entry, name):
                problems.append(f"{where}: {name} is {getattr(entry, name)}, the task itself has {getattr(spec, name)}")
    return problems


def strays(path: PathLike, manifest: Manifest) -> list[str]:
    """Arrays in the store's folder that the manifest does not list, such as leftovers of an interrupted write."""
    known = {MANIFEST} | {f"{entry.id}/{name}" for entry in manifest.tasks for name in entry.files}
    arrays = {str(file.relative_to(path)) for file in Path(path).rglob("*.npy")}
    return sorted(arrays - known)
