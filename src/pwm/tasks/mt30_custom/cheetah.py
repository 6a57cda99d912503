"""The suite's cheetah: running backwards, running on one foot with the other in the air, and jumping."""

from __future__ import annotations

from dm_control.rl.control import Environment
from dm_control.suite import cheetah

from pwm.tasks.mt30_custom.shaping import INFINITY, linear, tall

_BACKWARDS_SPEED = 8.0  # metres per second
_ONE_FOOT_SPEED = 6.0


class RunBackwards(cheetah.Cheetah):
    def get_reward(self, physics: cheetah.Physics) -> float:
        return linear(physics.speed(), -INFINITY, -_BACKWARDS_SPEED, _BACKWARDS_SPEED, 0.0)


class RunOnOneFoot(cheetah.Cheetah):
    """Running forwards with the torso and one foot ("bfoot" or "ffoot") raised as high as possible."""

    def __init__(self, raised_foot: str) -> None:
        super().__init__()
        self._raised_foot = raised_foot

    def get_reward(self, physics: cheetah.Physics) -> float:
        up = (3 * tall(_height(physics, self._raised_foot)) + 2 * tall(_height(physics, "torso"))) / 5
        run = linear(physics.speed(), _ONE_FOOT_SPEED, INFINITY, _ONE_FOOT_SPEED, 0.0)
        return up * (5 * run + 1) / 6


class Jump(cheetah.Cheetah):
    """Both ends of the body high at once, without moving forwards or backwards."""

    def get_reward(self, physics: cheetah.Physics) -> float:
        still = linear(physics.speed(), -0.5, 0.5, 0.5, 0.0)
        torso, feet = _height(physics, "torso"), (_height(physics, "bfoot"), _height(physics, "ffoot"))
        return sum((5 * tall((torso + foot) / 2) + still) / 6 for foot in feet) / 2


def _height(physics: cheetah.Physics, body: str) -> float:
    return physics.named.data.xpos[body, "z"]


def load(task: str) -> Environment:
    physics = cheetah.Physics.from_xml_string(*cheetah.get_model_and_assets())
    tasks = {
        "run-backwards": RunBackwards,
        "run-front": lambda: RunOnOneFoot("bfoot"),
        "run-back": lambda: RunOnOneFoot("ffoot"),
        "jump": Jump,
    }
    return Environment(physics, tasks[task]())
