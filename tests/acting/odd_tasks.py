"""Tasks that another process can build, and some that misbehave in it."""

import os
import signal
import time
from functools import partial

import gymnasium
import numpy as np

from pwm.tasks.spec import TaskSpec

LEADER = os.environ.setdefault("PWM_TEST_LEADER", str(os.getpid()))
"""The process that runs the tests; those it starts inherit the variable."""


def elsewhere():
    return str(os.getpid()) != LEADER


class SmallEnv(gymnasium.Env):
    """An episode is a function of seed and actions; `trouble(step)` is called before each step."""

    def __init__(self, length, trouble=None, render_mode=None):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.length, self.trouble = length, trouble

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.state = 0, self.np_random.normal(size=3)
        return self.state.astype(np.float32), {}

    def step(self, action):
        if self.trouble is not None:
            self.trouble(self.steps)
        self.steps += 1
        self.state = np.tanh(self.state + action.sum() * self.np_random.normal(size=3))
        success = {"success": bool(self.state[0] > 0)}
        return self.state.astype(np.float32), float(self.state[0]), False, self.steps >= self.length, success


class FallingEnv(SmallEnv):
    """Ends early where its state leaves a range."""

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, bool(self.state[0] > 0.8), truncated, info


def raise_at_three(step):
    if step == 3:
        raise ValueError("the arm\nfell off")


def die_elsewhere(step):
    if step == 2 and elsewhere():
        os.kill(os.getpid(), signal.SIGKILL)


def leave_elsewhere(step):
    if step == 1 and elsewhere():
        os._exit(7)


def sleep(step):
    time.sleep(0.05)


def make_here_alone(length, render_mode=None):
    if elsewhere():
        raise RuntimeError("known to the leader alone")
    return SmallEnv(length)


class OnlyHere:
    """A recipe that is written, but cannot be read in another process."""

    def __call__(self, render_mode=None):
        return SmallEnv(6)

    def __reduce__(self):
        return (_only_here, ())


def _only_here():
    if elsewhere():
        raise ImportError("no such thing here")
    return OnlyHere()


def small(id, length=6, trouble=None, make=None):
    return TaskSpec(id, 3, 2, length, 1, "success", make or partial(SmallEnv, length, trouble))
