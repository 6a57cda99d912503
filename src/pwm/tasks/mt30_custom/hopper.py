"""The suite's hopper, hopping backwards."""

from __future__ import annotations

from dm_control.rl.control import Environment
from dm_control.suite import hopper

from pwm.tasks.mt30_custom.shaping import INFINITY, linear

_SPEED = 1.0  # metres per second, towards -x; half the target of hopping forwards
_CONTROL_TIMESTEP = 0.02


class HopBackwards(hopper.Hopper):
    def get_reward(self, physics: hopper.Physics) -> float:
        standing = 1.0 if 0.6 <= physics.height() <= 2.0 else 0.0
        return standing * linear(physics.speed(), -INFINITY, -_SPEED, _SPEED / 2, 0.5)


def load(task: str) -> Environment:
    physics = hopper.Physics.from_xml_string(*hopper.get_model_and_assets())
    return Environment(physics, HopBackwards(hopping=True), control_timestep=_CONTROL_TIMESTEP)
