"""Start states for policy learning: member k of a fleet draws from the episodes of its own task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pwm.data.store import EpisodeStore
from pwm.runtime.errors import PWMError


class Starts(NamedTuple):
    """Start states and what the data did next; zero padded to the store's widest task."""

    observations: Tensor
    """[members, batch, observation_dim]"""
    actions: Tensor | None
    """[members, batch, action_dim], taken in the start state"""
    rewards: Tensor | None
    """[members, batch, n], the next n rewards"""
    later: Tensor | None
    """[members, batch, observation_dim], the observation n steps on"""
    ended: Tensor | None
    """[members, batch, n] bool, whether the episode terminated with that reward"""


class StartSource:
    """Gathers start states from a store, reading only the rows that it returns.

    Args:
        store: the episode store.
        tasks: task id of each member.
        follow: how many following steps to return as well; 0 returns observations alone.
        device: where the tensors go.
        episodes: task -> episode numbers to draw from; all by default.
        widths: (observation, action) width to pad to; the store's widest by default.

    Raises:
        PWMError: a task is not in the store, or none of its episodes has `follow` steps.
    """

    def __init__(
        self,
        store: EpisodeStore,
        tasks: Sequence[str],
        follow: int = 0,
        device: torch.device | str = "cpu",
        episodes: dict[str, np.ndarray] | None = None,
        widths: tuple[int, int] | None = None,
    ) -> None:
        self.store, self.tasks, self.follow, self.device = store, tuple(tasks), follow, device
        self.widths = widths or (store.observation_dim, store.action_dim)
        self._starts = {task: self._valid(task, episodes) for task in set(tasks)}
        self._members = {task: [k for k, name in enumerate(self.tasks) if name == task] for task in self._starts}

    def _valid(self, task: str, episodes: dict[str, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
        """First transition of each usable episode, and the running count of its valid starts."""
        offsets = np.asarray(self.store[task].offsets)
        chosen = np.arange(len(offsets) - 1) if episodes is None else np.asarray(episodes[task])
        counts = np.diff(offsets)[chosen] - max(self.follow, 1) + 1
        chosen, counts = chosen[counts > 0], counts[counts > 0]
        if not len(chosen):
            raise PWMError(f"task {task}: no episode has {max(self.follow, 1)} steps; use a shorter horizon")
        return np.stack((chosen, offsets[chosen])), np.concatenate(([0], np.cumsum(counts)))

    def gather(self, uniform: Tensor) -> Starts:
        """Start states for numbers [members, batch] in (0, 1); uniform numbers give uniform draws over the task."""
        numbers = uniform.double().cpu().numpy()
        members, batch = numbers.shape
        n, (wide, actions_wide) = self.follow, self.widths
        observations = np.zeros((members, batch, wide), np.float32)
        later = np.zeros_like(observations) if n else None
        actions = np.zeros((members, batch, actions_wide), np.float32) if n else None
        rewards = np.zeros((members, batch, n), np.float32) if n else None
        ended = np.zeros((members, batch, n), bool) if n else None
        for task, rows in self._members.items():
            (episode, first), ends = self._starts[task]
            draw = (numbers[rows] * ends[-1]).astype(np.int64).clip(max=ends[-1] - 1)
            which = np.searchsorted(ends, draw, side="right") - 1
            step = first[which] + draw - ends[which]
            data = self.store[task]
            observations[rows, :, : data.observation_dim] = data.observations[step + episode[which]]
            if n:
                window = step[..., None] + np.arange(n)
                later[rows, :, : data.observation_dim] = data.observations[step + episode[which] + n]
                actions[rows, :, : data.action_dim] = data.actions[step]
                rewards[rows] = data.rewards[window]
                ended[rows] = data.terminations[window]
        parts = (observations, actions, rewards, later, ended)
        return Starts(*(None if x is None else torch.from_numpy(x).to(self.device) for x in parts))
