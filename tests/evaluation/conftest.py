"""A toy task that runs in microseconds."""

import gymnasium
import numpy as np
import pytest

from pwm.tasks.spec import TaskSpec


class ToyEnv(gymnasium.Env):
    """State = noise of the seed pushed by the actions; the reward depends on both; may terminate early."""

    def __init__(self, observation_dim, action_dim, length, terminate_at, reports_success, render_mode):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (action_dim,), np.float32)
        self.length, self.terminate_at, self.reports_success = length, terminate_at, reports_success
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 50.0}
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.state = self.np_random.normal(size=self.observation_space.shape)
        return self.state.astype(np.float32), {}

    def step(self, action):
        assert not self.closed and action.shape == self.action_space.shape
        self.steps += 1
        self.state = 0.9 * self.state + action.sum()
        ended = self.steps == self.terminate_at
        # Success comes and goes: it holds at odd steps.
        info = {"success": self.steps % 2 == 1} if self.reports_success else {}
        return self.state.astype(np.float32), float(self.state.mean()), ended, self.steps >= self.length, info

    def render(self):
        return np.full((24, 32, 3), 20 * self.steps % 256, np.uint8)

    def close(self):
        self.closed = True


@pytest.fixture
def toy_spec():
    def build(id="toy", observation_dim=3, action_dim=2, length=6, terminate_at=None, reports_success=False, made=None):
        def make(render_mode=None):
            env = ToyEnv(observation_dim, action_dim, length, terminate_at, reports_success, render_mode)
            if made is not None:
                made.append(env)
            return env

        return TaskSpec(id, observation_dim, action_dim, length, 1, "success" if reports_success else "return", make)

    return build
