"""Some of the environments of a group of episodes, and the table of numbers that all of them share."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from pwm.runtime.errors import PWMError
from pwm.tasks.spec import TaskSpec

Index = tuple[int, int]
"""(task, episode): which environment of the group."""
_ALIGNMENT = 64
# Name, type and number of trailing axes (observations and actions have one) of each array of a table.
_FIELDS = (
    ("observations", np.float32),
    ("actions", np.float32),
    ("rewards", np.float64),
    ("returns", np.float64),
    ("lengths", np.int64),
    ("running", np.bool_),
    ("terminated", np.bool_),
    ("success", np.float64),
    ("success_any", np.float64),
)


class Table:
    """What N tasks x E episodes have come to, in one piece of memory that processes may share.

    Attributes:
        observations, actions: float32 [N, E, O] and [N, E, A], padded at the end.
        rewards: float64 [N, E], of the last step.
        returns: float64 [N, E], sum of the rewards so far.
        lengths: int64 [N, E], agent steps so far.
        running: bool [N, E], false once the episode has ended.
        terminated: bool [N, E], whether it ended by something other than its length.
        success, success_any: float64 [N, E], `info["success"]` of the last step and at any step; NaN if not reported.

    `buffer` has at least `Table.size(N * E, O, A)` bytes; none makes one. Its content is taken as it is.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    running: np.ndarray
    terminated: np.ndarray
    success: np.ndarray
    success_any: np.ndarray

    def __init__(self, shape: Index, observation_dim: int, action_dim: int, buffer: Any = None) -> None:
        widths = {"observations": (observation_dim,), "actions": (action_dim,)}
        if buffer is None:
            buffer = bytearray(self.size(math.prod(shape), observation_dim, action_dim))
        offset = 0
        for name, kind in _FIELDS:
            whole = (*shape, *widths.get(name, ()))
            array = np.frombuffer(buffer, kind, math.prod(whole), offset).reshape(whole)
            setattr(self, name, array)
            offset += _aligned(array.nbytes)

    @staticmethod
    def size(environments: int, observation_dim: int, action_dim: int) -> int:
        """Bytes of a table of that many environments, however they divide into tasks and episodes."""
        widths = {"observations": observation_dim, "actions": action_dim}
        counts = [(environments * widths.get(name, 1), kind) for name, kind in _FIELDS]
        return sum(_aligned(count * np.dtype(kind).itemsize) for count, kind in counts)

    def clear(self) -> None:
        """The state before the first reset."""
        for name, _ in _FIELDS:
            getattr(self, name).fill(np.nan if name.startswith("success") else name == "running")


class Environments:
    """The environments at some indices of a table; they write to their own entries of it alone.

    `specs` holds the task of each index used (others may be None), `seeds` [N, E] the seeds, and `at(index)` is called
    before anything is done with an environment, for whoever has to tell what a process that died was doing.
    """

    def __init__(
        self,
        table: Table,
        specs: Sequence[TaskSpec | None],
        seeds: np.ndarray,
        at: Callable[[Index], None] = lambda index: None,
    ) -> None:
        self._table, self._specs, self._seeds, self._at = table, specs, seeds, at
        self._envs: dict[Index, Any] = {}
        self._cleanup = ExitStack()

    def make(self, index: Index) -> None:
        """Build one environment; raises whatever its task raises."""
        self._at(index)
        env = self._spec(index).make()
        self._cleanup.callback(env.close)
        self._envs[index] = env

    def add(self, indices: Iterable[Index]) -> None:
        """Build several; raises PWMError that names the task."""
        for index in indices:
            try:
                self.make(index)
            except Exception as error:
                raise self._failure(index, "cannot be made", error) from error

    def reset(self) -> None:
        """Start every episode; raises PWMError that names the task and seed of one that fails."""
        for index, env in self._envs.items():
            self._at(index)
            try:
                observation, _ = env.reset(seed=int(self._seeds[index]))
            except Exception as error:
                raise self._failure(index, "failed in reset()", error) from error
            self._put(index, observation)

    def step(self) -> None:
        """One step of every episode that is running; raises PWMError that names the task and seed of one that fails."""
        table = self._table
        for index, env in self._envs.items():
            if not table.running[index]:
                continue
            self._at(index)
            own = table.actions[index][: self._spec(index).action_dim].copy()
            try:
                observation, reward, terminated, truncated, info = env.step(own)
                table.rewards[index] = reward
                table.returns[index] += reward
                success = float(info["success"]) if "success" in info else None
            except Exception as error:
                raise self._failure(index, f"failed at step {table.lengths[index]}", error) from error
            self._put(index, observation)
            table.lengths[index] += 1
            table.terminated[index] = terminated
            table.running[index] = not (terminated or truncated)
            if success is not None:
                table.success[index] = success
                table.success_any[index] = np.fmax(table.success_any[index], success)

    def close(self) -> None:
        """Close all environments, also where one of them raises (then that is raised at the end)."""
        self._envs.clear()
        self._cleanup.close()

    def _spec(self, index: Index) -> TaskSpec:
        spec = self._specs[index[0]]
        assert spec is not None
        return spec

    def _put(self, index: Index, observation: np.ndarray) -> None:
        spec = self._spec(index)
        if observation.shape != (spec.observation_dim,):
            raise PWMError(f"{spec.id}: observation has shape {observation.shape}, expected ({spec.observation_dim},)")
        self._table.observations[index][: spec.observation_dim] = observation

    def _failure(self, index: Index, what: str, error: Exception) -> PWMError:
        spec, seed = self._spec(index), int(self._seeds[index])
        return PWMError(
            f"{spec.id}: its environment {what} in the episode with seed {seed} ({describe(error)}); "
            f"correct the environment, or leave this task out"
        )


def describe(error: BaseException) -> str:
    """An exception in one line: its type, its words, and the place it was raised at."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split()):.300}{place}"


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
