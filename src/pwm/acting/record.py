"""Whole episodes, kept as they happened: what a policy saw, did and got."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pwm.acting.environments import Table
from pwm.acting.rollout import Act, Simulators, run_episodes
from pwm.data.growing import Episode
from pwm.tasks.spec import TaskSpec

_NOISE = 0x6E6F6973  # keeps these draws apart from others made with an episode's seed


def record_episodes(
    specs: Sequence[TaskSpec],
    act: Act,
    seeds: ArrayLike,
    workers: Simulators | None = None,
    on_step: Callable[[int], None] | None = None,
    observation_dim: int | None = None,
) -> list[list[Episode]]:
    """Episode e of task n as `run_episodes` plays it, at [n][e]; the arguments and errors are those of `run_episodes`.

    Actions are kept as the environments saw them. With `SideBySide` for `workers`, the episodes of a task run in one
    vector environment, as locomotion tasks do.
    """
    recorder = _Recorder()
    run_episodes(specs, act, seeds, on_step, observation_dim, workers, recorder)
    return [list(recorder.episodes(n, spec)) for n, spec in enumerate(specs)]


def with_noise(act: Act, noise: float, specs: Sequence[TaskSpec], seeds: ArrayLike) -> Act:
    """Adds normal noise of this standard deviation and clips to [-1, 1].

    The noise of an episode is a function of its own seed: it does not depend on which episodes run together.

    Args:
        act: actions [N, E, >=A] for one call of `run_episodes`.
        noise: standard deviation; 0 leaves actions as they are.
        specs: the N tasks.
        seeds: [N, E], the seeds of the episodes.
    """
    if not noise:
        return act
    seeds = np.asarray(seeds)
    steps = max(spec.episode_length for spec in specs)
    draws = np.zeros((steps, *seeds.shape, max(spec.action_dim for spec in specs)), np.float32)
    for n, e in np.ndindex(*seeds.shape):
        generator = np.random.Generator(np.random.Philox(key=np.array([seeds[n, e], _NOISE], np.uint64)))
        own = (specs[n].episode_length, specs[n].action_dim)
        draws[: own[0], n, e, : own[1]] = generator.standard_normal(own, np.float32)
    rows = iter(draws * np.float32(noise))

    def noisy(observations: np.ndarray) -> np.ndarray:
        return np.clip(act(observations)[..., : draws.shape[-1]] + next(rows), -1.0, 1.0)

    return noisy


class _Recorder:
    """Keeps the table's content after the resets, and after each step."""

    def __init__(self) -> None:
        self._steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._ends: tuple[np.ndarray, np.ndarray]

    def __call__(self, table: Table) -> None:
        self._steps.append((table.observations.copy(), table.actions.copy(), table.rewards.copy()))
        self._ends = (table.terminated.copy(), table.lengths.copy())

    def episodes(self, n: int, spec: TaskSpec) -> Iterator[Episode]:
        """The episodes of task n, each cut to its own length and sizes."""
        kept = zip(*((o[n], a[n], r[n]) for o, a, r in self._steps), strict=True)
        observations, actions, rewards = (np.stack(part) for part in kept)
        for e, (terminated, length) in enumerate(zip(*(ends[n] for ends in self._ends), strict=True)):
            taken, ends = slice(1, length + 1), np.zeros(length, bool)
            ends[-1:] = terminated
            yield Episode(
                observations[: length + 1, e, : spec.observation_dim].copy(),
                actions[taken, e, : spec.action_dim].copy(),
                rewards[taken, e].astype(np.float32),
                ends,
            )
