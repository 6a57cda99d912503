"""Small episode stores: random episodes, numbers that tell where they stood, and tasks that can be learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pwm.data.manifest import Origin
from pwm.data.store import EpisodeStore, open_store
from pwm.data.writer import StoreWriter

Sizes = Mapping[str, tuple[int, int]]
SCALE = 8192  # a power of two brings tags into the range of actions without rounding


def random_store(
    path: Path,
    sizes: Sizes,
    lengths: Sequence[int] | Mapping[str, Sequence[int]],
    *,
    ends: Sequence[int] = (),
    rewards: Callable[[np.ndarray, int], np.ndarray] = lambda observations, episode: observations[1:].mean(axis=1),
    tags: Sequence[str | None] | None = None,
    action_repeat: int = 2,
    episode_length: int | None = None,
    source: str | None = None,
    origins: Sequence[Origin] = (),
    seed: int = 0,
) -> EpisodeStore:
    """Random episodes of tasks of these (observation, action) widths.

    Args:
        lengths: of the episodes of every task, or task by task.
        ends: the episodes that terminate.
        rewards: observations [steps + 1, o] and number of an episode -> its rewards [steps].
        tags: the quality of each episode.
        action_repeat, episode_length, source, origins: what the manifest says of every task.
    """
    random = np.random.default_rng(seed)
    with StoreWriter(path) as writer:
        for task, (o, a) in sizes.items():
            own = lengths[task] if isinstance(lengths, Mapping) else lengths
            writer.add_task(task, o, a, episode_length or max(own), action_repeat, source, origins)
            for e, steps in enumerate(own):
                seen, actions = random.normal(size=(steps + 1, o)), random.uniform(-1, 1, size=(steps, a))
                over = (np.arange(steps) == steps - 1) & (e in ends)
                writer.add_episode(task, seen, actions, rewards(seen, e), over, tags[e] if tags else None)
    return open_store(path)


def tagged_store(
    path: Path, sizes: Sizes, lengths: Mapping[str, Sequence[int]], ends: Sequence[tuple[str, int]] = ()
) -> EpisodeStore:
    """Every value is the `tag` of its step; + 0.25 in actions, which are divided by SCALE, and + 0.5 in rewards.

    `ends` are the (task, episode) that terminate.
    """
    with StoreWriter(path) as writer:
        for number, (task, (o, a)) in enumerate(sizes.items()):
            writer.add_task(task, o, a, episode_length=max(lengths[task]), action_repeat=2)
            for e, steps in enumerate(lengths[task]):
                tags = tag(number, e, np.arange(steps + 1, dtype=np.float32))
                over = (np.arange(steps) == steps - 1) & ((task, e) in ends)
                observations, actions = (
                    np.repeat(tags[:, None], o, 1),
                    np.repeat((tags[:-1, None] + 0.25) / SCALE, a, 1),
                )
                writer.add_episode(task, observations, actions, tags[:-1] + 0.5, over)
    return open_store(path, verify=True)


def tag(task: int, episode: int, step: int | np.ndarray) -> int | np.ndarray:
    """A number that tells which task (by number), episode and step a value came from."""
    return (task + 1) * 1000 + episode * 100 + step


def drifting_points(path: Path, lengths: Sequence[int] = (20,) * 8) -> EpisodeStore:
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
