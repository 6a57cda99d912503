"""The 19 tasks of MT30 that are in the DeepMind Control Suite, as Gymnasium environments.

The suite itself is imported only when an environment is made.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from pwm.runtime.errors import PWMError
from pwm.tasks.gymnasium_env import MujocoEnv, Start
from pwm.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from dm_control.rl.control import Environment

ACTION_REPEAT = 2
EPISODE_LENGTH = 500  # agent steps: the suite's 1000 control steps at action repeat 2
RETURN_RANGE = (0.0, 1000.0)  # 1000 control steps with rewards in [0, 1]

# The multi-task id, the suite's domain and task, and the sizes, in the order of MT30.
_STOCK = (
    ("walker-stand", "walker", "stand", 24, 6),
    ("walker-walk", "walker", "walk", 24, 6),
    ("walker-run", "walker", "run", 24, 6),
    ("cheetah-run", "cheetah", "run", 17, 6),
    ("reacher-easy", "reacher", "easy", 6, 2),
    ("reacher-hard", "reacher", "hard", 6, 2),
    ("acrobot-swingup", "acrobot", "swingup", 6, 1),
    ("pendulum-swingup", "pendulum", "swingup", 3, 1),
    ("cartpole-balance", "cartpole", "balance", 5, 1),
    ("cartpole-balance-sparse", "cartpole", "balance_sparse", 5, 1),
    ("cartpole-swingup", "cartpole", "swingup", 5, 1),
    ("cartpole-swingup-sparse", "cartpole", "swingup_sparse", 5, 1),
    ("cup-catch", "ball_in_cup", "catch", 8, 2),
    ("finger-spin", "finger", "spin", 9, 2),
    ("finger-turn-easy", "finger", "turn_easy", 12, 2),
    ("finger-turn-hard", "finger", "turn_hard", 12, 2),
    ("fish-swim", "fish", "swim", 24, 5),
    ("hopper-stand", "hopper", "stand", 15, 4),
    ("hopper-hop", "hopper", "hop", 15, 4),
)


class DMControlEnv(MujocoEnv):
    """A `dm_control.rl.control.Environment` as a Gymnasium environment.

    Observation: the suite's observation dict, flattened and concatenated in its order, float32 [observation_dim].
    Action: [action_dim], clipped to [-1, 1] and held for two control steps, whose rewards are summed.
    Episodes never terminate; they are truncated after 500 agent steps. `reset(seed=s)` starts the same
    episode as the suite's first with `task_kwargs={"random": s}`; s is a whole number in [0, 2^32). Without a seed the
    task's random state continues.

    The wrapped environment must not end episodes by itself (`time_limit=inf`) and must have actions in [-1, 1].
    `render_size` is (height, width) in pixels.
    """

    def __init__(
        self, environment: Environment, render_mode: str | None = None, render_size: tuple[int, int] = (240, 320)
    ) -> None:
        super().__init__(environment, ACTION_REPEAT * environment.control_timestep(), render_mode, render_size)
        self._step = EPISODE_LENGTH  # outside an episode
        width = sum(int(np.prod(part.shape)) for part in environment.observation_spec().values())
        actions = environment.action_spec()
        if not (np.all(actions.minimum == -1.0) and np.all(actions.maximum == 1.0)):
            raise PWMError(
                f"actions must lie in [-1, 1]; the environment asks for {actions.minimum}..{actions.maximum}"
            )
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, actions.shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Starts an episode. Raises PWMError for a seed outside [0, 2^32)."""
        if seed is not None:
            if not 0 <= seed < 2**32:
                raise PWMError(f"episode seed {seed}: must lie in [0, 2^32)")
            self._environment.task.random.seed(int(seed))
        self._step = 0
        return _flatten(self._environment.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step. Raises PWMError for a wrong shape, a non-finite action, or a step outside an episode."""
        if self._step >= EPISODE_LENGTH:
            raise PWMError("step() outside an episode: call reset() first")
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape:
            raise PWMError(f"action has shape {action.shape}, expected {self.action_space.shape}")
        if not np.isfinite(action).all():
            raise PWMError(f"action must be finite, got {action}")
        action = action.clip(-1.0, 1.0)
        reward = 0.0
        for _ in range(ACTION_REPEAT):
            time_step = self._environment.step(action)
            reward += float(time_step.reward)
        self._step += 1
        return _flatten(time_step.observation), reward, False, self._step >= EPISODE_LENGTH, {}

    def render(self) -> np.ndarray | None:
        """The current state as uint8 [H, W, 3], None without a render mode. Raises PWMError if OpenGL fails."""
        physics = self._environment.physics
        return self._picture(physics.model.ptr, physics.data.ptr, camera=0)


def make_dm_control(
    domain: str, task: str, render_mode: str | None = None, render_size: tuple[int, int] = (240, 320)
) -> DMControlEnv:
    """Any task of the suite, e.g. `make_dm_control("cartpole", "swingup")`.

    Raises PWMError if dm_control cannot be imported or has no such task.
    """
    suite = import_suite()
    try:
        # We count the steps ourselves: the suite's own limit is a quotient of rounded seconds.
        environment = suite.load(domain, task, task_kwargs={"time_limit": float("inf")})
    except ValueError as error:
        raise PWMError(f"dm_control has no task {domain}/{task}: {error}") from error
    return DMControlEnv(environment, render_mode, render_size)


def import_suite() -> ModuleType:
    """Import `dm_control.suite` without its log messages. Works without OpenGL. Raises PWMError if the import fails."""
    try:
        from absl import logging as absl_logging

        logger = absl_logging.get_absl_logger()
        level = logger.level
        # It logs its search for OpenGL at INFO, and GLFW warns on machines without a display.
        logger.setLevel(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from dm_control import suite
        finally:
            logger.setLevel(level)
    except Exception as error:  # OpenGL bindings fail in many ways if MUJOCO_GL names a missing backend
        raise PWMError(
            f"dm_control could not be imported ({type(error).__name__}: {error}); "
            "install it with 'pip install dm_control', and if MUJOCO_GL is set, unset it"
        ) from error
    return suite


def _flatten(observation: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)


def suite_task(id: str, make: Callable[..., gymnasium.Env], observation_dim: int, action_dim: int) -> TaskSpec:
    """A task of MT30 on the suite."""
    return TaskSpec(id, observation_dim, action_dim, EPISODE_LENGTH, ACTION_REPEAT, "return", make, RETURN_RANGE)


TASKS: tuple[TaskSpec, ...] = tuple(
    suite_task(id, partial(make_dm_control, domain, task), *sizes) for id, domain, task, *sizes in _STOCK
)
TASK_SETS: dict[str, tuple[str, ...]] = {"mt30-stock": tuple(spec.id for spec in TASKS)}
