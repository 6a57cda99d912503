"""Any Gymnasium environment with continuous actions as a task."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import gymnasium
import numpy as np

from pwm.runtime.errors import PWMError
from pwm.tasks.rendering import MujocoRenderer, working_gl
from pwm.tasks.spec import TaskSpec

Start = tuple[np.ndarray, dict[str, Any]]
"""What `reset` of an environment returns: the first observation, and its info."""


def task_from_gymnasium(
    gymnasium_id: str,
    *,
    task_id: str | None = None,
    episode_length: int | None = None,
    action_repeat: int = 1,
    score: Literal["return", "success"] = "return",
    return_range: tuple[float, float] | None = None,
    **make_kwargs: Any,
) -> TaskSpec:
    """A task from a Gymnasium id, e.g. `task_from_gymnasium("Pendulum-v1", action_repeat=2)`.

    task_id         defaults to the Gymnasium id, with '-' for '/' and ':'
    episode_length  agent steps; defaults to the environment's own limit divided by the action repeat
    return_range    the returns that are normalised to 0 and 1 (see `TaskSpec`)
    make_kwargs     passed to `gymnasium.make`

    Raises PWMError if the environment cannot be made, has no time limit, or has unsupported spaces.
    """
    try:
        limit = gymnasium.spec(gymnasium_id).max_episode_steps
    except gymnasium.error.Error as error:
        raise PWMError(f"gymnasium does not know '{gymnasium_id}': {error}") from error
    if episode_length is None:
        if limit is None:
            raise PWMError(f"'{gymnasium_id}' sets no episode limit of its own; pass episode_length (agent steps)")
        episode_length = -(-limit // action_repeat)
    # The limit is counted here, in agent steps.
    make = partial(gymnasium.make, gymnasium_id, max_episode_steps=-1, **make_kwargs)
    task_id = task_id or gymnasium_id.replace("/", "-").replace(":", "-")
    settings = {"action_repeat": action_repeat, "score": score, "return_range": return_range}
    return task_from_factory(make, task_id=task_id, episode_length=episode_length, **settings)


def task_from_factory(
    make: Callable[..., gymnasium.Env],
    *,
    task_id: str,
    episode_length: int,
    action_repeat: int = 1,
    score: Literal["return", "success"] = "return",
    return_range: tuple[float, float] | None = None,
) -> TaskSpec:
    """A task from a function that builds a Gymnasium environment (it is called once here, to read the sizes).

    `make()` is called without arguments for stepping and as `make(render_mode="rgb_array")` for films. Observations are
    flattened to float32 by Gymnasium; bounded Box actions of any range and shape are flattened and mapped to [-1, 1].
    After the environment's `reset(seed=s)`, the episode must be a function of s and the actions; a note on stderr says
    so if two resets differ. Of an environment that resets itself within `step`, the last observation is taken from
    "final_observation" (or "final_obs") in its info.

    Raises PWMError if the environment cannot be made or its spaces are not supported.
    """
    build = partial(_make_adapted, make, episode_length, action_repeat, score)
    try:
        env = build()
    except PWMError as error:
        raise PWMError(f"task {task_id}: {error}") from error
    except Exception as error:
        raise PWMError(f"task {task_id}: its environment cannot be made: {error}") from error
    try:
        observation_dim, action_dim = env.observation_space.shape[0], env.action_space.shape[0]
        _note_without_seed(env, task_id)
    finally:
        env.close()
    return TaskSpec(task_id, observation_dim, action_dim, episode_length, action_repeat, score, build, return_range)


class GymnasiumTaskEnv(gymnasium.Env):
    """Adapts a Gymnasium environment to `TaskSpec.make` (flat float32, actions in [-1, 1], action repeat).

    A termination or truncation by the environment ends the action repeat and the episode. `info` is that of the last
    native step; with the score "success" it must contain "success". Raises PWMError for unsupported spaces.
    """

    def __init__(self, env: gymnasium.Env, episode_length: int, action_repeat: int = 1, score: str = "return") -> None:
        space = env.action_space
        if not isinstance(space, gymnasium.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            raise PWMError(
                f"the action space is {space}; only continuous (Box) actions are supported: wrap the environment so "
                "that it takes numbers in a range"
            )
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise PWMError("the action space has no bounds; wrap the environment so that every action is bounded")
        if not env.observation_space.is_np_flattenable:
            raise PWMError(
                f"the observation space {env.observation_space} has no flat form of fixed length; wrap the environment "
                "so that it gives a Box, or a Dict or Tuple of them"
            )
        self._env, self._score = env, score
        self._episode_length, self._action_repeat = episode_length, action_repeat
        self._step, self._running = 0, False
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self.render_mode = env.render_mode
        self.metadata = dict(env.metadata)
        if "render_fps" in self.metadata:
            self.metadata["render_fps"] /= action_repeat
        width = gymnasium.spaces.flatdim(env.observation_space)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Starts an episode."""
        self._step, self._running = 0, True
        observation, info = self._env.reset(seed=None if seed is None else int(seed), options=options)
        return self._flatten(observation), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step.

        Raises PWMError for an action of the wrong shape or not finite, a step outside an episode, a reward or an
        observation that is not finite, or a missing "success" if that is the score.
        """
        if not self._running:
            raise PWMError("step() outside an episode: call reset() first")
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise PWMError(f"action must be finite and of shape {self.action_space.shape}, got {action}")
        action = action.clip(-1.0, 1.0).reshape(self._low.shape)
        native = self._low + (action + 1.0) * 0.5 * (self._high - self._low)
        native = native.astype(self._env.action_space.dtype)
        total = 0.0
        for _ in range(self._action_repeat):
            observation, reward, terminated, truncated, info = self._env.step(native)
            total += float(reward)
            if terminated or truncated:
                break
        self._step += 1
        truncated = bool(truncated) or self._step >= self._episode_length
        self._running = not (terminated or truncated)
        if terminated or truncated:  # an environment that resets itself keeps the last observation here
            observation = info.get("final_observation", info.get("final_obs", observation))
        flat = self._flatten(observation)
        if not np.isfinite(total):
            raise PWMError(f"the environment gave the reward {total} at agent step {self._step}")
        if self._score == "success" and not self._running and "success" not in info:
            raise PWMError("the score is 'success', but the last step's info has no 'success'; use score='return'")
        return flat, total, bool(terminated), truncated, info

    def render(self) -> np.ndarray | None:
        """The environment's own picture."""
        with working_gl():
            return self._env.render()

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _flatten(self, observation: Any) -> np.ndarray:
        flat = np.asarray(gymnasium.spaces.flatten(self._env.observation_space, observation), dtype=np.float32)
        if not np.isfinite(flat).all():
            raise PWMError(f"the environment gave an observation with NaN or infinity at agent step {self._step}")
        return flat


class MujocoEnv(gymnasium.Env):
    """An environment around a MuJoCo simulator, with pictures; `frame_seconds` is the time of one step."""

    def __init__(
        self, environment: Any, frame_seconds: float, render_mode: str | None, render_size: tuple[int, int]
    ) -> None:
        check_render_mode(render_mode)
        self._environment, self._renderer, self._render_size = environment, None, render_size
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1.0 / frame_seconds}

    def close(self) -> None:
        """Frees the renderer and the simulator."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self._environment.close()

    def _picture(self, model: Any, data: Any, camera: int) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = MujocoRenderer(model, *self._render_size)
        return self._renderer.render(data, camera)


def check_render_mode(render_mode: str | None) -> None:
    """Raises PWMError unless it is None or "rgb_array"."""
    if render_mode not in (None, "rgb_array"):
        raise PWMError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")


def _note_without_seed(env: gymnasium.Env, task_id: str) -> None:
    """Say so if two resets with the same seed begin differently; an environment that fails says so when it is used."""
    with contextlib.suppress(Exception):
        first, again = (env.reset(seed=0)[0].copy() for _ in range(2))
        if not np.array_equal(first, again):
            print(
                f"note: {task_id}: two resets with the same seed begin differently (by up to "
                f"{np.abs(first - again).max():.3g}): evaluations are not of the same episodes and cannot be repeated; "
                "draw the start from self.np_random after super().reset(seed=seed)",
                file=sys.stderr,
            )


def _make_adapted(make: Callable[..., gymnasium.Env], *settings: Any, render_mode: str | None = None) -> gymnasium.Env:
    env = make() if render_mode is None else make(render_mode=render_mode)
    return GymnasiumTaskEnv(env, *settings)
