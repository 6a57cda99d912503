"""Toy tasks that run in microseconds: one environment for all tests, and tasks of it."""

from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np

from pwm.tasks.spec import TaskSpec

SIZES = {"toy-a": (3, 2), "toy-b": (2, 1)}
"""Observation and action widths of the tasks of the `toys` fixture."""
LENGTH = 12
"""Steps of their episodes."""


class ToyEnv(gymnasium.Env):
    """The state is noise of the seed, pushed by the actions; the reward is its mean.

    An episode terminates at step `terminate_at`, and where the state's first entry is beyond `wall`. Success comes and
    goes: it holds at odd steps. `trouble(step)` is called before each step.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50.0}

    def __init__(
        self,
        observation_dim=3,
        action_dim=2,
        length=6,
        terminate_at=None,
        reports_success=False,
        wall=np.inf,
        trouble=None,
        render_mode=None,
    ):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (action_dim,), np.float32)
        self.length, self.terminate_at, self.wall = length, terminate_at, wall
        self.reports_success, self.trouble, self.render_mode = reports_success, trouble, render_mode
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.state = 0, self.np_random.normal(size=self.observation_space.shape).astype(np.float32)
        return self.state, {}

    def step(self, action):
        assert not self.closed and action in self.action_space
        if self.trouble is not None:
            self.trouble(self.steps)
        self.steps += 1
        self.state *= 0.9  # in place: whoever keeps no copy of an observation is wrong
        self.state += action.sum()
        ended = self.steps == self.terminate_at or bool(self.state[0] > self.wall)
        info = {"success": self.steps % 2 == 1} if self.reports_success else {}
        return self.state, float(self.state.mean()), ended, self.steps >= self.length, info

    def render(self):
        return np.full((24, 32, 3), 20 * self.steps % 256, np.uint8)

    def close(self):
        self.closed = True


def toy_task(id="toy", observation_dim=3, action_dim=2, length=6, *, made=None, **more) -> TaskSpec:
    """A task of `ToyEnv`s, which join the list `made`; `more` goes to them. Other processes cannot build it."""

    def make(render_mode=None):
        env = ToyEnv(observation_dim, action_dim, length, render_mode=render_mode, **more)
        if made is not None:
            made.append(env)
        return env

    score = "success" if more.get("reports_success") else "return"
    return TaskSpec(id, observation_dim, action_dim, length, 1, score, make)


def travelling_task(id, length=6, *, make=None, **more) -> TaskSpec:
    """A task of `ToyEnv`s of the default sizes that other processes can build."""
    return TaskSpec(id, 3, 2, length, 1, "success", make or partial(ToyEnv, 3, 2, length, reports_success=True, **more))
