"""States (and the actions taken in them) for policy learning: member k of a fleet draws from its own task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pwm.data.store import EpisodeStore
from pwm.runtime.errors import PWMError


class StartSource:
    """Gathers states from a store, reading only the rows that it returns.

    Every transition's first state can be drawn; the last state of an episode, in which nothing was done, cannot.

    Args:
        store: the episode store.
        tasks: task id of each member.
        device: where the tensors go.
        episodes: task -> episode numbers to draw from; all by default.
        widths: (observation, action) width to pad to; the store's widest by default.

    Raises:
        PWMError: a task is not in the store, or has no episode to draw from.
    """

    def __init__(
        self,
        store: EpisodeStore,
        tasks: Sequence[str],
        device: torch.device | str = "cpu",
        episodes: Mapping[str, np.ndarray] | None = None,
        widths: tuple[int, int] | None = None,
    ) -> None:
        self.store, self.tasks, self.device = store, tuple(tasks), device
        self.widths = widths or (store.observation_dim, store.action_dim)
        self._members = {task: [k for k, name in enumerate(self.tasks) if name == task] for task in self.tasks}
        self._chosen = {task: _first_and_count(store, task, episodes) for task in self._members}

    def gather(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [members, batch, O] and actions [members, batch, A] for numbers [members, batch] in [0, 1].

        Uniform numbers give uniform draws over the transitions of each member's task. Zero padded at the end.
        """
        numbers = uniform.double().cpu().numpy()
        observations = np.zeros((*numbers.shape, self.widths[0]), np.float32)
        actions = np.zeros((*numbers.shape, self.widths[1]), np.float32)
        for task, members in self._members.items():
            episode, first, count = self._chosen[task]
            draw = (numbers[members] * count[-1]).astype(np.int64).clip(max=count[-1] - 1)
            which = np.searchsorted(count, draw, side="right") - 1
            row = first[which] + draw - count[which]
            data = self.store[task]
            observations[members, :, : data.observation_dim] = data.observations[row + episode[which]]
            actions[members, :, : data.action_dim] = data.actions[row]
        return torch.from_numpy(observations).to(self.device), torch.from_numpy(actions).to(self.device)


def _first_and_count(
    store: EpisodeStore, task: str, episodes: Mapping[str, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chosen episodes, the first transition of each, and the running count of their transitions (from 0)."""
    data = store[task]
    chosen = np.arange(len(data.lengths)) if episodes is None else np.asarray(episodes[task])
    if not len(chosen):
        raise PWMError(f"task {task}: no episode to draw states from; choose at least one")
    return chosen, data.offsets[chosen], np.concatenate(([0], np.cumsum(data.lengths[chosen])))


def best_episodes(store: EpisodeStore, task: str, fraction: float) -> np.ndarray:
    """Numbers of the `fraction` of a task's episodes with the highest returns, at least one, in ascending order."""
    returns = store.returns(task)
    count = max(1, round(fraction * len(returns)))
    return np.sort(np.argsort(returns, kind="stable")[-count:])
