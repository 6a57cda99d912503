"""Whole episodes in the real simulator, many environments side by side, one call of the policy per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pwm.runtime.errors import PWMError
from pwm.tasks.spec import TaskSpec

Act = Callable[[np.ndarray], np.ndarray]
"""Observations float32 [N, E, O] of N tasks x E episodes -> actions [N, E, A]; both padded at the end."""


@dataclass(frozen=True)
class Episodes:
    """What came of N tasks x E episodes, every array [N, E].

    returns     float64, sum of the rewards
    success     `info["success"]` of the last step, 1.0 or 0.0; NaN for tasks that do not report it, None if none does
    success_any the same, but "at any step"
    lengths     int64, agent steps
    seeds       int64, the seed each episode was reset with
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
) -> Episodes:
    """Runs episode e of task n with seed `seeds[n, e]`, all of them at the same time.

    act              called once per step for all environments: observations float32 [N, E, O], zero beyond each task's
                     own -> actions [N, E, A]; entries beyond a task's own actions are ignored, whatever they hold.
                     Rows of episodes that have ended hold their last observation; actions for them are ignored.
    on_step          called after each step with the number of steps done (for progress; the longest episode has
                     `max(spec.episode_length)`)
    observation_dim  O; defaults to the largest of the tasks. Pass the policy's width if it is larger.

    An environment sees its own seed and actions only, so with a policy that treats rows separately the result does not
    depend on which episodes run together. Raises PWMError for seeds or actions of the wrong shape and for actions that
    are not finite.
    """
    seeds = _checked_seeds(seeds, len(specs))
    width = max(spec.observation_dim for spec in specs)
    if observation_dim is not None and observation_dim < width:
        raise PWMError(f"observation_dim is {observation_dim}, but a task needs {width}")
    with ExitStack() as cleanup:
        group = _Group(specs, seeds, observation_dim or width, cleanup)
        steps = 0
        while group.running.any():
            group.step(_checked_actions(act(group.observations.copy()), specs, group, steps))
            steps += 1
            if on_step is not None:
                on_step(steps)
    reports = not np.isnan(group.success).all()
    return Episodes(
        group.returns,
        group.success if reports else None,
        group.success_any if reports else None,
        group.lengths,
        seeds,
    )


class _Group:
    """The environments of one call and what has been counted so far; every array starts with [N, E]."""

    def __init__(self, specs: Sequence[TaskSpec], seeds: np.ndarray, width: int, cleanup: ExitStack) -> None:
        shape = seeds.shape
        self.specs = specs
        self.seeds = seeds
        self.envs: dict[tuple[int, int], Any] = {}
        self.observations = np.zeros((*shape, width), dtype=np.float32)
        self.returns = np.zeros(shape)
        self.lengths = np.zeros(shape, dtype=np.int64)
        self.running = np.ones(shape, dtype=bool)
        self.success = np.full(shape, np.nan)
        self.success_any = np.full(shape, np.nan)
        for index in np.ndindex(*shape):
            env = specs[index[0]].make()
            cleanup.callback(env.close)
            self.envs[index] = env
            self._put(index, env.reset(seed=int(seeds[index]))[0])

    def step(self, actions: np.ndarray) -> None:
        for index, env in self.envs.items():
            if not self.running[index]:
                continue
            own = actions[index][: self.specs[index[0]].action_dim]
            observation, reward, terminated, truncated, info = env.step(own)
            self._put(index, observation)
            self.returns[index] += reward
            self.lengths[index] += 1
            self.running[index] = not (terminated or truncated)
            if "success" in info:
                self.success[index] = float(info["success"])
                self.success_any[index] = np.fmax(self.success_any[index], self.success[index])

    def _put(self, index: tuple[int, int], observation: np.ndarray) -> None:
        spec = self.specs[index[0]]
        if observation.shape != (spec.observation_dim,):
            raise PWMError(f"{spec.id}: observation has shape {observation.shape}, expected ({spec.observation_dim},)")
        self.observations[index][: spec.observation_dim] = observation


def _checked_seeds(seeds: ArrayLike, tasks: int) -> np.ndarray:
    array = np.asarray(seeds)
    if tasks == 0 or array.ndim != 2 or array.shape[0] != tasks or array.shape[1] == 0:
        raise PWMError(f"seeds must have shape [tasks, episodes] with {tasks} (>= 1) tasks, got {array.shape}")
    if not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
        raise PWMError("seeds must be whole numbers, zero or more")
    return array.astype(np.int64)


def _checked_actions(actions: ArrayLike, specs: Sequence[TaskSpec], group: _Group, step: int) -> np.ndarray:
    """Checks shape and, within the entries that count, finiteness."""
    actions = np.asarray(actions, dtype=np.float32)
    width = max(spec.action_dim for spec in specs)
    shape = group.running.shape
    if actions.ndim != 3 or actions.shape[:2] != shape or actions.shape[2] < width:
        raise PWMError(
            f"the policy gave actions of shape {actions.shape}, expected [{shape[0]}, {shape[1]}, >={width}]"
        )
    for n, spec in enumerate(specs):
        bad = group.running[n] & ~np.isfinite(actions[n, :, : spec.action_dim]).all(axis=-1)
        if bad.any():
            seed = group.seeds[n, int(np.argmax(bad))]
            raise PWMError(
                f"{spec.id}: the policy gave a non-finite action at step {step} of the episode with seed {seed}; "
                "its weights or observations hold NaN or infinity"
            )
    return actions
