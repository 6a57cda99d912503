"""The library's tasks as vector environments of Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from pwm.acting.episode_statistics import EpisodeStatistics
from pwm.acting.vector_environment import WorkerEnvironment
from pwm.acting.workers import choose_workers
from pwm.tasks.registry import get_task
from pwm.tasks.vector import VectorEnvironment


class TensorVecEnv(VecEnv):
    """A `VectorEnvironment` as a VecEnv, without gradients."""

    def __init__(self, environment: VectorEnvironment) -> None:
        self.environment = environment
        shape = (environment.observation_dim,)
        observations = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
        actions = gymnasium.spaces.Box(-1.0, 1.0, (environment.action_dim,), np.float32)
        super().__init__(environment.num_envs, observations, actions)
        self._actions: torch.Tensor

    def reset(self) -> np.ndarray:
        return self.environment.reset().numpy(force=True)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = torch.as_tensor(actions, dtype=torch.float32, device=self.environment.device)

    @torch.no_grad()
    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        step = self.environment.step(self._actions)
        terminated, truncated = step.terminated.numpy(force=True), step.truncated.numpy(force=True)
        done, infos = terminated | truncated, [{} for _ in range(self.num_envs)]
        if done.any():
            final = step.final_obs.numpy(force=True)
            for i in np.nonzero(done)[0]:
                infos[i] = {
                    "terminal_observation": final[i],
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                }
        # Copies: the caller changes rewards and keeps observations.
        return step.obs.numpy(force=True).copy(), step.reward.numpy(force=True).copy(), done, infos

    def close(self) -> None:
        if isinstance(self.environment, WorkerEnvironment):
            self.environment.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.environment, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("the environments are one object; set its attributes instead")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("the environments are one object; call its methods instead")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class CountEpisodes(VecEnvWrapper):
    """Records episode statistics with the task's own rewards."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.statistics = EpisodeStatistics(venv.num_envs)

    def reset(self) -> np.ndarray:
        return self.venv.reset()  # type: ignore[return-value]

    def step_wait(self) -> Any:
        observations, rewards, done, infos = self.venv.step_wait()
        ended = torch.as_tensor(done)[None]
        self.statistics.update(torch.as_tensor(rewards)[None], ended, torch.zeros_like(ended))
        return observations, rewards, done, infos


def registered_task(task: str, num_envs: int, seed: int, steps: int) -> TensorVecEnv:
    """n environments of any registered task, for training over so many steps.

    Row i's first episode is reset with `seed` + i, and later ones without a seed, as in `DummyVecEnv`.
    """
    seeds = [seed + row for row in range(num_envs)]
    workers = choose_workers(None, steps)
    return TensorVecEnv(WorkerEnvironment(get_task(task), num_envs, seeds, workers=workers, reseed=False))
