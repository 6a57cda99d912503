"""Plays episodes in simulators and writes them to an episode store."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Sequence

import numpy as np

from pwm.acting.parts import Part
from pwm.acting.random_policy import with_noise
from pwm.acting.record import record_episodes
from pwm.acting.seeds import episode_seeds
from pwm.acting.workers import open_workers
from pwm.data.manifest import Origin
from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.progress import progress
from pwm.tasks.spec import TaskSpec

SIDE_BY_SIDE = 32
"""Most environments alive at the same time."""
_SIMULATORS = ("mujoco", "dm_control", "gymnasium")


def collect(out: PathLike, parts: Sequence[Part], seed: int, workers: int | None = 0) -> None:
    """Play the episodes of all parts and write them to the store `out`, parts of the same task one after the other.

    Episode i of a task, counted over its parts, is reset with `episode_seeds(seed, task, ...)[i]`. An episode depends
    only on its seed and its part, not on which others run in parallel, nor on `workers`, the number of processes
    including this one (None: one per core, if there is enough to do).

    Raises:
        PWMError: a number is invalid, or an environment or a policy fails. No store is left behind.
    """
    if seed < 0:
        raise PWMError(f"seed is {seed}, must be 0 or more")
    for part in parts:
        if part.episodes < 1 or not 0.0 <= part.noise < np.inf:
            raise PWMError(f"episodes is {part.episodes} and noise {part.noise:g}; need at least 1, and 0 or more")
    specs = {part.spec.id: part.spec for part in parts}
    agent_steps = sum(part.episodes * part.spec.episode_length for part in parts)
    pool = open_workers(workers, list(specs.values()), SIDE_BY_SIDE, agent_steps)
    with pool, StoreWriter(out) as writer:
        for spec in specs.values():
            _add_task(writer, spec, [part for part in parts if part.spec.id == spec.id], seed)
        steps = sum(-(-part.episodes // SIDE_BY_SIDE) * part.spec.episode_length for part in parts)
        with progress("Steps side by side", steps) as bar:
            done = dict.fromkeys(specs, 0)
            for part in parts:
                task = part.spec.id
                seeds = episode_seeds(seed, task, done[task] + part.episodes)[done[task] :]
                for start in range(0, len(seeds), SIDE_BY_SIDE):
                    own, before = [seeds[start : start + SIDE_BY_SIDE]], bar.done
                    act = with_noise(part.act(own[0]), part.noise, [part.spec], own)
                    for episode in record_episodes([part.spec], act, own, pool, lambda step: bar.advance())[0]:
                        writer.add_episode(task, *episode, quality=part.quality)
                    bar.advance(before + part.spec.episode_length - bar.done)  # if all ended early
                done[task] += part.episodes


def _add_task(writer: StoreWriter, spec: TaskSpec, parts: Sequence[Part], seed: int) -> None:
    """Declare a task with the origins of its parts."""
    first = np.cumsum([0, *(part.episodes for part in parts)]).tolist()
    origins = [_origin(part, seed, start) for part, start in zip(parts, first)]
    words = "collected by pwm: " + ", ".join(dict.fromkeys(_words(part) for part in parts))
    sizes = (spec.observation_dim, spec.action_dim, spec.episode_length, spec.action_repeat)
    writer.add_task(spec.id, *sizes, words, origins)


def _origin(part: Part, seed: int, first: int) -> Origin:
    found = {}
    for name in (*_SIMULATORS, *part.spec.packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return Origin(part.policy, part.noise, seed, first, part.episodes, part.quality, found)


def _words(part: Part) -> str:
    who = part.policy if len(part.policy) < 20 else f"policy {part.policy[:12]}"
    return f"{who} with noise {part.noise:g}" if part.noise else who
