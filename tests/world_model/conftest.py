"""A small store to pre-train on."""

from pathlib import Path

import numpy as np

from pwm.data.store import EpisodeStore, open_store
from pwm.data.writer import StoreWriter


def drifting_points(path: Path, lengths: tuple[int, ...] = (20,) * 8) -> EpisodeStore:
    """Two tasks, one episode each of these lengths: a point drifts with the action and is rewarded for its position."""
    random = np.random.default_rng(0)
    with StoreWriter(path) as writer:
        for task, a in (("one", 1), ("two", 2)):
            writer.add_task(task, 2, a, episode_length=20, action_repeat=1)
            for length in lengths:
                actions = random.uniform(-1, 1, size=(length, a)).astype(np.float32)
                x = np.concatenate(([0.0], 0.3 * actions.sum(1).cumsum())).astype(np.float32)
                writer.add_episode(task, np.stack((x, -x), 1), actions, np.abs(x[:-1]))
    return open_store(path)
