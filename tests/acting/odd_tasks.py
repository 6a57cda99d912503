"""Environments that misbehave, or only do so in another process."""

import os
import signal
import time

from tests.toys import ToyEnv

LEADER = os.environ.setdefault("PWM_TEST_LEADER", str(os.getpid()))
"""The process that runs the tests; those it starts inherit the variable."""


def elsewhere():
    return str(os.getpid()) != LEADER


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
    return ToyEnv(length=length)


class OnlyHere:
    """A recipe that is written, but cannot be read in another process."""

    def __call__(self, render_mode=None):
        return ToyEnv()

    def __reduce__(self):
        return (_only_here, ())


def _only_here():
    if elsewhere():
        raise ImportError("no such thing here")
    return OnlyHere()
