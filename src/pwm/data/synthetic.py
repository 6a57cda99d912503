"""A store of random episodes, for measuring speed and memory without data."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pwm.data.store import EpisodeStore, open_store
from pwm.data.writer import StoreWriter


@contextlib.contextmanager
def synthetic_store(
    sizes: Mapping[str, tuple[int, int]], episodes: int = 4, length: int = 64, seed: int = 0
) -> Iterator[EpisodeStore]:
    """A store of random episodes in a temporary folder; `sizes` gives each task's (observation, action) widths."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        with StoreWriter(Path(folder) / "store") as writer:
            for task, (o, a) in sizes.items():
                writer.add_task(task, o, a, episode_length=length, action_repeat=2)
                for _ in range(episodes):
                    observations = random.normal(size=(length + 1, o)).astype(np.float32)
                    actions = random.uniform(-1, 1, size=(length, a)).astype(np.float32)
                    rewards = random.uniform(0, 2, size=length).astype(np.float32)
                    writer.add_episode(task, observations, actions, rewards)
        yield open_store(Path(folder) / "store")
