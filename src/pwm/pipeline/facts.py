"""The entries of run.json about the data and tasks of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pwm.data.store import EpisodeStore


def data_facts(store: EpisodeStore) -> dict[str, Any]:
    """The store's path, fingerprint and size."""
    return {
        "path": str(store.path.resolve()),
        "fingerprint": store.fingerprint(),
        "episodes": sum(len(store[task].lengths) for task in store.tasks),
        "transitions": sum(int(store[task].offsets[-1]) for task in store.tasks),
    }


def task_facts(store: EpisodeStore, tasks: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The sizes of `tasks`, by default of all tasks of the store."""
    names = ("id", "observation_dim", "action_dim", "episode_length", "action_repeat")
    return [{name: getattr(store[task], name) for name in names} for task in tasks or store.tasks]
