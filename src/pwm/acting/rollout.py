"""Plays whole episodes in the simulator, many environments in parallel, with one call of the policy per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pwm.acting.environments import Table
from pwm.acting.workers import Workers
from pwm.runtime.errors import PWMError
from pwm.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from pwm.acting.side_by_side import SideBySide

Act = Callable[[np.ndarray], np.ndarray]
"""Observations float32 [N, E, O] of N tasks x E episodes -> actions [N, E, A]; both padded at the end."""


@dataclass(frozen=True)
class EpisodeResults:
    """Results of N tasks x E episodes; all arrays are [N, E].

    returns     float64, sum of the rewards
    success     `info["success"]` of the last step, 1.0 or 0.0; NaN for tasks that do not report it, None if none does
    success_any the same, but "at any step"
    lengths     int64, agent steps
    seeds       int64, with which each episode was reset
    """

    returns: np.ndarray
    success: np.ndarray | None
    success_any: np.ndarray | None
    lengths: np.ndarray
    seeds: np.ndarray


def run_episodes(
    specs: Sequence[TaskSpec],
    act: Act,
    seeds: ArrayLike,
    on_step: Callable[[int], None] | None = None,
    observation_dim: int | None = None,
    workers: Workers | SideBySide | None = None,
    watch: Callable[[Table], None] | None = None,
) -> EpisodeResults:
    """Play episode e of task n with seed `seeds[n, e]`, all in parallel.

    act              called once per step for all environments: observations float32 [N, E, O], zero-padded ->
                     actions [N, E, A], whose padding is ignored. Episodes that have ended keep their last observation,
                     and their actions are ignored.
    on_step          called after each step with the number of steps so far (for progress; the longest episode has
                     `max(spec.episode_length)`)
    observation_dim  O; defaults to the maximum over the tasks. Pass the policy's width if it is larger.
    workers          steps the environments: `Workers` or `SideBySide`; None: in this process. It stays open, except
                     after an error.
    watch            called with the table after the resets and after each step, to record episodes

    An environment only sees its own seed and actions. So if the policy treats rows independently, results do not depend
    on which episodes run in parallel, nor in which process. Raises PWMError for seeds or actions of the wrong shape,
    actions that are not finite, and environments that fail (naming task and seed).
    """
    seeds = _checked_seeds(seeds, len(specs))
    width = max(spec.observation_dim for spec in specs)
    if observation_dim is not None and observation_dim < width:
        raise PWMError(f"observation_dim is {observation_dim}, but a task needs {width}")
    dims = (observation_dim or width, max(spec.action_dim for spec in specs))
    with Workers(0, 0) if workers is None else nullcontext(workers) as pool:
        try:
            table = pool.begin(specs, seeds, *dims)
            steps = 0
            if watch is not None:
                watch(table)
            while table.running.any():
                table.actions[:] = checked_actions(act(table.observations.copy()), specs, table)
                pool.step()
                steps += 1
                if watch is not None:
                    watch(table)
                if on_step is not None:
                    on_step(steps)
            episodes = _episodes(table, seeds)
            pool.end()
        except BaseException:
            pool.close()
            raise
    return episodes


def _episodes(table: Table, seeds: np.ndarray) -> EpisodeResults:
    """Copies of the results, since the next group reuses the table's memory."""
    reports = not np.isnan(table.success).all()
    success, success_any = (x.copy() if reports else None for x in (table.success, table.success_any))
    return EpisodeResults(table.returns.copy(), success, success_any, table.lengths.copy(), seeds)


def _checked_seeds(seeds: ArrayLike, tasks: int) -> np.ndarray:
    array = np.asarray(seeds)
    if tasks == 0 or array.ndim != 2 or array.shape[0] != tasks or array.shape[1] == 0:
        raise PWMError(f"seeds must have shape [tasks, episodes] with {tasks} (>= 1) tasks, got {array.shape}")
    if not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
        raise PWMError("seeds must be whole numbers, zero or more")
    return array.astype(np.int64)


def checked_actions(actions: ArrayLike, specs: Sequence[TaskSpec], table: Table) -> np.ndarray:
    """Actions as the table's float32 [N, E, A].

    Raises:
        PWMError: the shape is wrong, or an entry other than padding is not finite.
    """
    actions = np.asarray(actions, dtype=np.float32)
    shape, width = table.running.shape, table.actions.shape[2]
    if actions.ndim != 3 or actions.shape[:2] != shape or actions.shape[2] < width:
        raise PWMError(
            f"the policy gave actions of shape {actions.shape}, expected [{shape[0]}, {shape[1]}, >={width}]"
        )
    for n, spec in enumerate(specs):
        bad = table.running[n] & ~np.isfinite(actions[n, :, : spec.action_dim]).all(axis=-1)
        if bad.any():
            e = int(np.argmax(bad))
            raise PWMError(
                f"{spec.id}: the policy gave a non-finite action at step {table.lengths[n, e]} of the episode with "
                f"seed {table.seeds[n, e]}; its weights or observations hold NaN or infinity"
            )
    return actions[..., :width]
