"""Records whole episodes: observations, actions, rewards and terminations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pwm.acting.environments import Table
from pwm.acting.rollout import Act, run_episodes
from pwm.acting.side_by_side import SideBySide
from pwm.acting.workers import Workers
from pwm.data.store import Episode
from pwm.tasks.spec import TaskSpec


def record_episodes(
    specs: Sequence[TaskSpec],
    act: Act,
    seeds: ArrayLike,
    workers: Workers | SideBySide | None = None,
    on_step: Callable[[int], None] | None = None,
    observation_dim: int | None = None,
) -> list[list[Episode]]:
    """Play episodes as `run_episodes` does, with the same arguments and errors; returns episode e of task n at [n][e].

    Actions are recorded as the environments received them. If `workers` is a `SideBySide`, the episodes of a task run
    in one vector environment, as for locomotion tasks.
    """
    recorder = _Recorder()
    run_episodes(specs, act, seeds, on_step, observation_dim, workers, recorder)
    return [list(recorder.episodes(n, spec)) for n, spec in enumerate(specs)]


class _Recorder:
    """Copies the table's content after the resets and after each step."""

    def __init__(self) -> None:
        self._steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._ends: tuple[np.ndarray, np.ndarray]

    def __call__(self, table: Table) -> None:
        self._steps.append((table.observations.copy(), table.actions.copy(), table.rewards.copy()))
        self._ends = (table.terminated.copy(), table.lengths.copy())

    def episodes(self, n: int, spec: TaskSpec) -> Iterator[Episode]:
        """The episodes of task n, each with its own length and sizes."""
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
