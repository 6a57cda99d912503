"""Any task as a vector environment that resets itself, with simulators in worker processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pwm.acting.environments import Table
from pwm.acting.rollout import checked_actions
from pwm.acting.seeds import episode_seeds
from pwm.acting.workers import Workers
from pwm.runtime.errors import PWMError
from pwm.tasks.spec import TaskSpec
from pwm.tasks.step import Step


class WorkerEnvironment:
    """n environments of one task, stepped by worker processes: a `VectorEnvironment` without gradients.

    Results do not depend on the number of processes. The state of the simulators cannot be saved.

    Args:
        spec: the task.
        num_envs: n.
        seed: one for all, or one per row for its first episode.
        device: of the tensors of a step; the simulators do not use it.
        workers: number of processes including this one; 0 and 1 start no other.
        reseed: whether later episodes get their own seeds, derived from the row's seed and the episode number. If not,
            they are reset without a seed, so the environment's random state continues.

    Raises:
        PWMError: `num_envs` is below 1, the number of seeds is wrong, an environment fails or a process dies. Also
            raised by `reset` and `step`.
    """

    def __init__(
        self,
        spec: TaskSpec,
        num_envs: int,
        seed: int | Sequence[int] = 0,
        device: torch.device | str = "cpu",
        workers: int = 0,
        reseed: bool = True,
    ) -> None:
        if num_envs < 1:
            raise PWMError(f"num_envs is {num_envs}; it must be at least 1")
        self.spec, self.num_envs, self.device = spec, num_envs, torch.device(device)
        self.observation_dim, self.action_dim = spec.observation_dim, spec.action_dim
        self.episode_length = spec.episode_length
        self._reseed = reseed
        self._workers = Workers(workers, Table.size(num_envs, spec.observation_dim, spec.action_dim))
        self._table: Table | None = None
        self._start(seed)

    def reset(self, seed: int | Sequence[int] | None = None) -> Tensor:
        """Start the next episode of every row; with a seed, all rows start over. Returns observations [n, o]."""
        if seed is not None:
            self._start(seed)
        if self._table is None:
            seeds = np.array([self._next_seeds(np.arange(self.num_envs))])
            self._table = self._workers.begin([self.spec], seeds, self.observation_dim, self.action_dim)
        else:
            self._table.running[:] = False
            self._restart()
        return self._tensor(self._table.observations[0])

    def step(self, actions: Tensor) -> Step:
        """One step with actions [n, a], clipped to [-1, 1]. Rows whose episode ends start the next one.

        Raises:
            PWMError: before the first reset, for actions that are not finite or have the wrong shape, or if an
                environment fails.
        """
        table = self._table
        if table is None:
            raise PWMError(f"{self.spec.id}: step() outside an episode; call reset() first")
        given = np.clip(actions.numpy(force=True), -1.0, 1.0)
        table.actions[:] = checked_actions(given[None], [self.spec], table)
        self._workers.step()
        ended, terminated = ~table.running[0], self._tensor(table.terminated[0])
        reward, final_obs = self._tensor(table.rewards[0].astype(np.float32)), self._tensor(table.observations[0])
        truncated, obs = self._tensor(ended) & ~terminated, final_obs
        if ended.any():
            self._restart()
            obs = self._tensor(table.observations[0])
        return Step(obs, reward, terminated, truncated, final_obs)

    def close(self) -> None:
        """Close the simulators and end the processes."""
        self._workers.close()
        self._table = None

    def _start(self, seed: int | Sequence[int]) -> None:
        seeds = episode_seeds(seed, self.spec.id, self.num_envs) if isinstance(seed, int) else [int(s) for s in seed]
        if len(seeds) != self.num_envs or min(seeds) < 0:
            raise PWMError(f"{self.spec.id}: seeds must be {self.num_envs} whole numbers, zero or more, got {seeds}")
        self._seeds, self._episodes = seeds, [0] * self.num_envs

    def _next_seeds(self, rows: np.ndarray) -> list[int]:
        """Seeds of the next episodes of these rows; counts these episodes as begun."""
        seeds = []
        for row in rows:
            number, own = self._episodes[row], self._seeds[row]
            later = int(np.random.SeedSequence([own, number]).generate_state(1)[0]) if self._reseed else -1
            seeds.append(later if number else own)
            self._episodes[row] += 1
        return seeds

    def _restart(self) -> None:
        """Start the next episode of the rows that are not running."""
        assert self._table is not None
        rows = np.nonzero(~self._table.running[0])[0]
        self._table.seeds[0, rows] = self._next_seeds(rows)
        self._workers.reset()

    def _tensor(self, array: np.ndarray) -> Tensor:
        """A copy, since the next step changes the table."""
        return torch.tensor(array, device=self.device)
