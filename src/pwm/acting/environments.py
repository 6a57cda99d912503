"""Steps environments, whose observations, actions and results are in a table that processes can share."""

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
"""(task, episode): the environment's place in the table."""
_ALIGNMENT = 64
_FIELDS: dict[str, Any] = dict.fromkeys(("observations", "actions"), np.float32)
_FIELDS |= dict.fromkeys(("rewards", "returns", "success", "success_any"), np.float64)
_FIELDS |= dict.fromkeys(("seeds", "lengths"), np.int64) | dict.fromkeys(("running", "terminated"), np.bool_)
"""Name and type of each array of a table."""


class Table:
    """The state of N tasks x E episodes, in one block of memory that processes can share.

    Attributes:
        observations, actions: float32 [N, E, O] and [N, E, A], padded at the end.
        seeds: int64 [N, E], seed of each reset; negative: no seed, so the environment's random state continues.
        rewards: float64 [N, E], of the last step.
        returns: float64 [N, E], sum of the rewards so far.
        lengths: int64 [N, E], agent steps so far.
        running: bool [N, E], false before the first reset and once the episode has ended.
        terminated: bool [N, E], whether it ended by termination and not by its length.
        success, success_any: float64 [N, E], `info["success"]` of the last step and at any step; NaN if not reported.

    `buffer` has at least `Table.size(N * E, O, A)` bytes and is not cleared; None allocates one.
    """

    observations: np.ndarray
    actions: np.ndarray
    seeds: np.ndarray
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
        for name, kind in _FIELDS.items():
            whole = (*shape, *widths.get(name, ()))
            array = np.frombuffer(buffer, kind, math.prod(whole), offset).reshape(whole)
            setattr(self, name, array)
            offset += _aligned(array.nbytes)

    @staticmethod
    def size(environments: int, observation_dim: int, action_dim: int) -> int:
        """Bytes of a table for that many environments, tasks times episodes."""
        widths = {"observations": observation_dim, "actions": action_dim}
        counts = [(environments * widths.get(name, 1), kind) for name, kind in _FIELDS.items()]
        return sum(_aligned(count * np.dtype(kind).itemsize) for count, kind in counts)

    def clear(self) -> None:
        """The state before the first reset."""
        for name in _FIELDS:
            getattr(self, name).fill(np.nan if name.startswith("success") else 0)

    def start(self, index: tuple[Any, ...], observation: np.ndarray) -> None:
        """Store the first observation [o] of an episode, or [k, o] of k episodes of a task at (n, rows)."""
        self.observations[(*index, slice(observation.shape[-1]))] = observation
        self.success[index] = self.success_any[index] = np.nan
        self.rewards[index] = self.returns[index] = self.lengths[index] = self.terminated[index] = 0
        self.running[index] = True

    def advance(
        self, index: tuple[Any, ...], observation: np.ndarray, reward: Any, terminated: Any, truncated: Any
    ) -> None:
        """Store one step of an episode, or of k episodes of a task at (n, rows)."""
        self.observations[(*index, slice(observation.shape[-1]))] = observation
        self.rewards[index] = reward
        self.returns[index] += reward
        self.lengths[index] += 1
        self.terminated[index] = terminated
        self.running[index] = ~(np.asarray(terminated, bool) | np.asarray(truncated, bool))


class Environments:
    """The environments at some indices of a table; they write only to their own entries.

    `specs` holds the task of each index used (others may be None). `at(index)` is called before every use of an
    environment, so that a crash of the process can be attributed to it.
    """

    def __init__(
        self, table: Table, specs: Sequence[TaskSpec | None], at: Callable[[Index], None] = lambda index: None
    ) -> None:
        self._table, self._specs, self._at = table, specs, at
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
        """Start the next episode of every environment that is not running, with its seed in the table.

        Raises:
            PWMError: an environment fails (names its task and seed).
        """
        for index, env in self._envs.items():
            if self._table.running[index]:
                continue
            self._at(index)
            seed = int(self._table.seeds[index])
            try:
                observation, _ = env.reset(seed=seed if seed >= 0 else None)
            except Exception as error:
                raise self._failure(index, "failed in reset()", error) from error
            self._table.start(index, self._checked(index, observation))

    def step(self) -> None:
        """One step of every running episode. Raises PWMError, naming task and seed, if an environment fails."""
        table = self._table
        for index, env in self._envs.items():
            if not table.running[index]:
                continue
            self._at(index)
            own = table.actions[index][: self._spec(index).action_dim].copy()
            try:
                observation, reward, terminated, truncated, info = env.step(own)
                reward = float(reward)
                success = float(info["success"]) if "success" in info else None
            except Exception as error:
                raise self._failure(index, f"failed at step {table.lengths[index]}", error) from error
            table.advance(index, self._checked(index, observation), reward, terminated, truncated)
            if success is not None:
                table.success[index] = success
                table.success_any[index] = np.fmax(table.success_any[index], success)

    def close(self) -> None:
        """Close all environments, even if one of them raises (which is re-raised at the end)."""
        self._envs.clear()
        self._cleanup.close()

    def _spec(self, index: Index) -> TaskSpec:
        spec = self._specs[index[0]]
        assert spec is not None
        return spec

    def _checked(self, index: Index, observation: np.ndarray) -> np.ndarray:
        spec = self._spec(index)
        if observation.shape != (spec.observation_dim,):
            raise PWMError(f"{spec.id}: observation has shape {observation.shape}, expected ({spec.observation_dim},)")
        return observation

    def _failure(self, index: Index, what: str, error: Exception) -> PWMError:
        spec, seed = self._spec(index), int(self._table.seeds[index])
        return PWMError(
            f"{spec.id}: its environment {what} in the episode with seed {seed} ({describe(error)}); "
            f"correct the environment, or leave this task out"
        )


def describe(error: BaseException) -> str:
    """An exception in one line: its type, message and location."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split()):.300}{place}"


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
