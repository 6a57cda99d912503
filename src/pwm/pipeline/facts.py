"""The entries of run.json about the data and tasks of a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pwm.data.store import EpisodeStore
from pwm.runtime.files import sha256
from pwm.tasks.spec import TaskSpec


def data_facts(store: EpisodeStore) -> dict[str, Any]:
    """The store's path, fingerprint and size."""
    return {
        "path": str(store.path.resolve()),
        "fingerprint": store.fingerprint(),
        "episodes": sum(len(store[task].lengths) for task in store.tasks),
        "transitions": sum(int(store[task].offsets[-1]) for task in store.tasks),
    }


def task_files(specs: Iterable[TaskSpec]) -> dict[str, Any]:
    """The section "task_files" of run.json: the checksums of files that tasks are built from; empty without any."""
    found = {spec.id: {Path(path).name: sha256(path) for path in spec.files} for spec in specs if spec.files}
    return {"task_files": found} if found else {}


def task_facts(store: EpisodeStore, tasks: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The sizes of `tasks`, by default of all tasks of the store."""
    names = ("id", "observation_dim", "action_dim", "episode_length", "action_repeat")
    return [{name: getattr(store[task], name) for name in names} for task in tasks or store.tasks]
