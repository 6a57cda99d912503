"""Episodes played in simulators into an episode store: what an environment was told and answered, as it happened."""

from __future__ import annotations

import contextlib
import importlib.metadata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pwm.data.manifest import Origin
from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.progress import progress
from pwm.tasks.spec import TaskSpec

Act = Callable[[np.ndarray], np.ndarray]
"""Observations float32 [E, o] of E episodes, at the same step of each -> actions [E, a]."""
Play = Callable[[TaskSpec, Act, Sequence[int], "Record"], None]
"""Runs one episode of a task per seed, all side by side, and keeps the record."""
SIDE_BY_SIDE = 32
"""Environments alive at one time."""
_SIMULATORS = ("mujoco", "dm_control", "gymnasium")
_NOISE = 0x6E6F6973  # keeps these draws apart from others made with an episode's seed


@dataclass(frozen=True)
class Part:
    """A number of episodes of one task by one policy.

    act        gives the actions of episodes with these seeds, before noise: called once per group of episodes
    policy     what the manifest calls it: "random", "scripted", or the SHA-256 of a policy file
    noise      standard deviation of the normal noise added to every action; actions are clipped to [-1, 1] after it
    quality    tag, or None
    """

    spec: TaskSpec
    act: Callable[[Sequence[int]], Act]
    policy: str
    episodes: int
    noise: float = 0.0
    quality: str | None = None


def episode_seeds(seed: int, task: str, count: int) -> list[int]:
    """What the first `count` episodes of a task are reset with; the same for more of them."""
    return [int(x) for x in np.random.SeedSequence([seed, zlib.crc32(task.encode())]).generate_state(count)]


def collect(out: PathLike, parts: Sequence[Part], seed: int, play: Play) -> None:
    """Write the store `out` with the episodes of all parts; parts of the same task follow each other.

    Episode i of a task, counted over its parts, is reset with `episode_seeds(seed, task, ...)[i]`. An episode depends
    on its seed and its part alone, not on which run side by side.

    Raises:
        PWMError: wrong numbers, or an environment or a policy fails. Nothing is left that opens as a store.
    """
    if seed < 0:
        raise PWMError(f"seed is {seed}, must be 0 or more")
    for part in parts:
        if part.episodes < 1 or not 0.0 <= part.noise < np.inf:
            raise PWMError(f"episodes is {part.episodes} and noise {part.noise:g}; need at least 1, and 0 or more")
    specs = {part.spec.id: part.spec for part in parts}
    with StoreWriter(out) as writer:
        for task, spec in specs.items():
            own = [part for part in parts if part.spec.id == task]
            first = np.cumsum([0, *(part.episodes for part in own)]).tolist()
            origins = [_origin(part, seed, start) for part, start in zip(own, first)]
            words = "collected by pwm: " + ", ".join(dict.fromkeys(_words(part) for part in own))
            sizes = (spec.observation_dim, spec.action_dim, spec.episode_length, spec.action_repeat)
            writer.add_task(task, *sizes, words, origins)
        steps = sum(-(-part.episodes // SIDE_BY_SIDE) * part.spec.episode_length for part in parts)
        with progress("Steps side by side", steps) as bar:
            done = dict.fromkeys(specs, 0)
            for part in parts:
                task = part.spec.id
                seeds = episode_seeds(seed, task, done[task] + part.episodes)[done[task] :]
                for start in range(0, len(seeds), SIDE_BY_SIDE):
                    before = bar.done
                    _play_group(writer, part, seeds[start : start + SIDE_BY_SIDE], play, bar.advance)
                    bar.advance(before + part.spec.episode_length - bar.done)  # where all ended early
                done[task] += part.episodes


def _play_group(writer: StoreWriter, part: Part, seeds: Sequence[int], play: Play, on_step: Callable[[], None]) -> None:
    record = Record(on_step)
    play(part.spec, with_noise(part.act(seeds), part.noise, seeds, part.spec), seeds, record)
    for episode in record.episodes():
        writer.add_episode(part.spec.id, *episode, quality=part.quality)


def with_noise(act: Act, noise: float, seeds: Sequence[int], spec: TaskSpec) -> Act:
    """Adds normal noise of this standard deviation, a function of each episode's seed, and clips to [-1, 1]."""
    shape = (spec.episode_length, spec.action_dim)
    keys = [np.array([seed, _NOISE], np.uint64) for seed in seeds]
    draws = [np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32) for key in keys]
    steps = iter(np.stack(draws, axis=1) * np.float32(noise))

    def noisy(observations: np.ndarray) -> np.ndarray:
        return np.clip(act(observations) + next(steps), -1.0, 1.0)

    return noisy if noise else act


class Record:
    """Keeps E episodes of a task that run side by side; to be called after their resets, and after each step."""

    def __init__(self, on_step: Callable[[], None]) -> None:
        self._on_step = on_step
        self._steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._ends: tuple[np.ndarray, np.ndarray]

    def __call__(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        lengths: np.ndarray,
    ) -> None:
        """Observations [E, o], the actions [E, a] that led to them, their rewards [E], whether the episodes were
        terminated, bool [E], and the steps that they have, [E]. Of episodes that have ended the first three do not
        count, and at the resets the observations alone do."""
        if self._steps:
            self._on_step()
        self._steps.append((observations.copy(), actions.copy(), rewards.copy()))
        self._ends = (terminated.copy(), lengths.copy())

    def episodes(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Observations, actions, rewards and terminations of each episode."""
        observations, actions, rewards = (np.stack(part) for part in zip(*self._steps, strict=True))
        for e, (terminated, length) in enumerate(zip(*self._ends, strict=True)):
            taken, ends = slice(1, length + 1), np.zeros(length, bool)
            ends[-1:] = terminated
            yield observations[: length + 1, e], actions[taken, e], rewards[taken, e].astype(np.float32), ends


def _origin(part: Part, seed: int, first: int) -> Origin:
    found = {}
    for name in (*_SIMULATORS, *part.spec.packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return Origin(part.policy, part.noise, seed, first, part.episodes, part.quality, found)


def _words(part: Part) -> str:
    who = part.policy if len(part.policy) < 20 else f"policy {part.policy[:12]}"
    return f"{who} with noise {part.noise:g}" if part.noise else who
