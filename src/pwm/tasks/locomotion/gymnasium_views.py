"""The locomotion tasks as Gymnasium environments, single and vectorised."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pwm.runtime.errors import PWMError
from pwm.tasks.gymnasium_env import Start, check_render_mode
from pwm.tasks.locomotion.environment import LocomotionEnv, make_locomotion


class LocomotionTaskEnv(gymnasium.Env):
    """One robot, as `TaskSpec.make` builds it; without gradients.

    Other keyword arguments go to `make_locomotion`. Raises PWMError as that does.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(self, task: str, render_mode: str | None = None, **kwargs: Any) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self._env = make_locomotion(task, num_envs=1, **kwargs)
        self.observation_space, self.action_space = _spaces(self._env)
        self._waiting = True  # for reset()
        self._fresh = False  # the environment has already started the next episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start an episode, which depends on the seed only; without a seed, the next one."""
        super().reset(seed=seed)
        if seed is None and self._fresh:
            observations = self._env.detach()
        else:
            observations = self._env.reset(None if seed is None else int(seed))
        self._waiting = self._fresh = False
        return _numpy(observations)[0], {}

    @torch.no_grad()
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step. Raises PWMError for a wrong shape, a non-finite action, or a step outside an episode."""
        if self._waiting:
            raise PWMError("step() outside an episode: call reset() first")
        action = np.asarray(action, dtype=np.float32)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise PWMError(f"action must be finite and of shape {self.action_space.shape}, got {action}")
        out = self._env.step(torch.as_tensor(action, device=self._env.device)[None])
        terminated, truncated = bool(out.terminated), bool(out.truncated)
        self._waiting = self._fresh = terminated or truncated
        return _numpy(out.final_obs)[0], float(out.reward), terminated, truncated, {}

    def render(self) -> np.ndarray | None:
        """The current state as uint8 [H, W, 3], None without a render mode."""
        return None if self.render_mode is None else self._env.render()


class LocomotionVectorEnv(gymnasium.vector.VectorEnv):
    """n robots as a Gymnasium vector environment with `AutoresetMode.SAME_STEP`.

    `infos["final_obs"]` holds the last observation of each episode that ended in this step. Other keyword arguments go
    to `make_locomotion`.
    """

    metadata = LocomotionTaskEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, task: str, num_envs: int = 64, render_mode: str | None = None, **kwargs: Any) -> None:
        self.render_mode = render_mode
        self._env = make_locomotion(task, num_envs=num_envs, **kwargs)
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = _spaces(self._env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> Start:
        """Reset all environments; with a seed s, row i plays the episodes of a single environment with seed s + i."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        if isinstance(seed, int):
            seed = [seed + row for row in range(self.num_envs)]
        return _numpy(self._env.reset(seed)), {}

    @torch.no_grad()
    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of all robots with actions [n, a]."""
        out = self._env.step(torch.as_tensor(np.asarray(actions, dtype=np.float32), device=self._env.device))
        terminated, truncated = out.terminated.cpu().numpy(), out.truncated.cpu().numpy()
        ended = terminated | truncated
        infos: dict[str, Any] = {}
        if ended.any():
            last, final = _numpy(out.final_obs), np.full(self.num_envs, None, dtype=object)
            for row in np.nonzero(ended)[0]:
                final[row] = last[row]
            infos = {"final_obs": final, "_final_obs": ended, "final_info": {}, "_final_info": ended.copy()}
        return _numpy(out.obs), out.reward.cpu().numpy().astype(np.float64), terminated, truncated, infos

    def render(self) -> np.ndarray | None:
        """The first robot as uint8 [H, W, 3], None without a render mode."""
        return None if self.render_mode is None else self._env.render()


def _spaces(env: LocomotionEnv) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    observations = gymnasium.spaces.Box(-np.inf, np.inf, (env.observation_dim,), np.float32)
    return observations, gymnasium.spaces.Box(-1.0, 1.0, (env.action_dim,), np.float32)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
