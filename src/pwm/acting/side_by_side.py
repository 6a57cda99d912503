"""Plays episodes of tasks with a vector simulator, instead of in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pwm.acting.environments import Table
from pwm.tasks.spec import TaskSpec
from pwm.tasks.vector import VectorEnvironment, make_environment


class SideBySide:
    """Steps N tasks x E episodes in N vector environments of E rows, for `run_episodes` and `record_episodes`.

    Vector environments take seconds to build and are kept for the next group.

    Args:
        make: builds the vector environment of a task with so many rows; by default its differentiable simulator.
    """

    def __init__(self, make: Callable[[TaskSpec, int], VectorEnvironment] = make_environment) -> None:
        self._make = make
        self._kept: dict[tuple[int, str, int], VectorEnvironment] = {}
        self._own: list[VectorEnvironment] = []
        self._table: Table

    def begin(self, specs: Sequence[TaskSpec], seeds: np.ndarray, observation_dim: int, action_dim: int) -> Table:
        """Reset N tasks x E episodes with `seeds` [N, E]; their table.

        Raises:
            PWMError: `make` cannot build one of the environments.
        """
        self._table = table = Table(seeds.shape, observation_dim, action_dim)
        table.clear()
        table.seeds[:] = seeds
        self._own = []
        for n, spec in enumerate(specs):
            key = (n, spec.id, seeds.shape[1])
            if key not in self._kept:
                self._kept[key] = self._make(spec, seeds.shape[1])
            self._own.append(self._kept[key])
            table.start((n, slice(None)), self._own[n].reset(seeds[n].tolist()).numpy(force=True))
        return table

    @torch.no_grad()
    def step(self) -> None:
        """One step of every running episode, with the actions in the table."""
        table = self._table
        for n, environment in enumerate(self._own):
            rows = np.nonzero(table.running[n])[0]
            if not len(rows):
                continue
            actions = np.where(table.running[n][:, None], table.actions[n, :, : environment.action_dim], 0.0)
            step = environment.step(torch.as_tensor(actions, device=environment.device))
            arrays = (step.final_obs, step.reward, step.terminated, step.truncated)
            table.advance((n, rows), *(array.numpy(force=True)[rows] for array in arrays))

    def end(self) -> None:
        """End the group; the environments are kept."""

    def close(self) -> None:
        """Release the environments."""
        self._kept.clear()
