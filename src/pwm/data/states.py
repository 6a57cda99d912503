"""Draws states, and the actions taken in them, for policy learning: each member of a fleet from its own task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pwm.data.sampler import EARLY, to_device
from pwm.data.store import EpisodeStore, TaskEpisodes
from pwm.runtime import random
from pwm.runtime.errors import PWMError

COARSE = 1 << 20  # up to this many transitions of a task, 2^23 different numbers reach all about equally often


class StateSource:
    """Gathers states from a store, reading only the rows that it returns.

    The final state of an episode, in which no action was taken, is never drawn.

    Args:
        store: the episode store.
        tasks: task id of each member.
        device: where the tensors go.
        weights: task -> relative sampling weight of each episode's transitions [episodes], or of each transition
            [transitions]; uniform by default.
        widths: (observation, action) width to pad to; the store's widest by default.
        early: fraction of every batch (its first columns) that is drawn from the first tenth of the episodes.

    Raises:
        PWMError: a task is not in the store, or has no episode to draw from.
    """

    def __init__(
        self,
        store: EpisodeStore,
        tasks: Sequence[str],
        device: torch.device | str = "cpu",
        weights: Mapping[str, np.ndarray] | None = None,
        widths: tuple[int, int] | None = None,
        early: float = 0.0,
    ) -> None:
        self.store, self.tasks, self.device = store, tuple(tasks), device
        self.early = early
        self.widths = widths or (store.observation_dim, store.action_dim)
        self._members = {task: [k for k, name in enumerate(self.tasks) if name == task] for task in self.tasks}
        self._draws = {task: _draw(store[task], None if weights is None else weights[task]) for task in self._members}
        self._fine = any(len(store[task].rewards) > COARSE for task in self._members)

    def draw(self, keys: Tensor, counter: int | Tensor, batch: int) -> Tensor:
        """Uniform numbers [members, batch] for `gather` and `states`; finer if a task has many transitions."""
        return random.uniform(keys, counter, (batch,), fine=self._fine)

    def gather(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [members, batch, O] and actions [members, batch, A] for numbers [members, batch] in [0, 1].

        Uniform numbers give uniform draws over the transitions of each member's task. Zero-padded at the end.
        """
        rows = self._rows(uniform)
        return self._read("observations", uniform.shape, rows), self._read("actions", uniform.shape, rows)

    def states(self, uniform: Tensor) -> Tensor:
        """Only the observations of `gather`; actions are not read."""
        return self._read("observations", uniform.shape, self._rows(uniform))

    def _read(self, name: str, shape: torch.Size, rows: dict[str, tuple[np.ndarray, np.ndarray]]) -> Tensor:
        padded = np.zeros((*shape, self.widths[name == "actions"]), np.float32)
        for task, (row, episode) in rows.items():
            array = getattr(self.store[task], name)
            padded[self._members[task], :, : array.shape[1]] = array[row if name == "actions" else row + episode]
        return to_device(torch.from_numpy(padded), self.device)

    def _rows(self, uniform: Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Task -> (transition, episode), each [members of the task, batch]."""
        numbers = uniform.double().cpu().numpy()
        early = np.arange(numbers.shape[1]) < round(self.early * numbers.shape[1])
        return {task: self._draws[task].rows(numbers[members], early) for task, members in self._members.items()}


Rows = tuple[np.ndarray, np.ndarray]


class _Episodes:
    """Draws an episode by weight times length, and a transition of it uniformly."""

    def __init__(self, data: TaskEpisodes, weights: np.ndarray) -> None:
        self._data, self._mass = data, _running_mass(data.id, data.lengths * weights)

    def rows(self, numbers: np.ndarray, early: np.ndarray) -> Rows:
        """(transition, episode) for numbers [members, batch] in [0, 1]; `early` [batch]: columns for beginnings."""
        mass, data = self._mass, self._data
        within = np.where(early, EARLY, 1.0)
        draw = numbers * mass[-1]
        episode = (np.searchsorted(mass, draw, side="right") - 1).clip(max=len(data.lengths) - 1)
        share = (draw - mass[episode]) / (mass[episode + 1] - mass[episode])
        length = data.lengths[episode]
        step = (share * within * length).astype(np.int64).clip(max=length - 1)
        return data.offsets[episode] + step, episode


class _Transitions:
    """Draws transitions by weights of their own."""

    def __init__(self, data: TaskEpisodes, weights: np.ndarray) -> None:
        step = np.arange(len(weights)) - np.repeat(data.offsets[:-1], data.lengths)
        starts = step < np.ceil(EARLY * np.repeat(data.lengths, data.lengths))
        self._data, self._mass = data, _running_mass(data.id, weights)
        self._early = _running_mass(data.id, weights * starts)

    def rows(self, numbers: np.ndarray, early: np.ndarray) -> Rows:
        """As `_Episodes.rows`."""
        row = np.where(early, _find(self._early, numbers), _find(self._mass, numbers))
        return row, np.searchsorted(self._data.offsets, row, side="right") - 1


def _find(mass: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The entry of a running mass that each number in [0, 1] falls into; never one without mass."""
    last = np.searchsorted(mass, mass[-1]) - 1
    return (np.searchsorted(mass, numbers * mass[-1], side="right") - 1).clip(max=last)


def _draw(data: TaskEpisodes, weights: np.ndarray | None) -> _Episodes | _Transitions:
    weights = np.ones(len(data.lengths)) if weights is None else np.asarray(weights, float)
    return (_Episodes if len(weights) == len(data.lengths) else _Transitions)(data, weights)


def _running_mass(task: str, mass: np.ndarray) -> np.ndarray:
    """Cumulative sum, from 0, of the mass of a task's episodes or transitions."""
    if not (np.isfinite(mass).all() and (mass >= 0).all() and mass.sum() > 0):
        raise PWMError(f"task {task}: weights must be finite and not negative, with one above 0")
    return np.concatenate(([0.0], np.cumsum(mass)))


def rank_weights(store: EpisodeStore, task: str, sharpness: float) -> np.ndarray:
    """(rank / episodes)^sharpness for each episode of a task, [episodes]; the highest return is ranked last.

    Episodes of equal return share the mean of their ranks, so that their order in the store does not matter.
    """
    _, which, count = np.unique(store.returns(task), return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return (rank[which] / len(which)) ** sharpness
