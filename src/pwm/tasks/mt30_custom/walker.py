"""The suite's walker, walking and running backwards."""

from __future__ import annotations

from dm_control.rl.control import Environment
from dm_control.suite import walker

from pwm.tasks.mt30_custom.shaping import INFINITY, linear, tall

_SPEED = {"walk-backwards": 1.0, "run-backwards": 8.0}  # metres per second, towards -x
_CONTROL_TIMESTEP = 0.025


class Backwards(walker.PlanarWalker):
    """stand * (5 move + 1) / 6: the suite's reward with the opposite sign of the speed."""

    def get_reward(self, physics: walker.Physics) -> float:
        speed = self._move_speed
        stand = (3 * tall(physics.torso_height()) + (1 + physics.torso_upright()) / 2) / 4
        move = linear(physics.horizontal_velocity(), -INFINITY, -speed, speed / 2, 0.5)
        return stand * (5 * move + 1) / 6


def load(task: str) -> Environment:
    physics = walker.Physics.from_xml_string(*walker.get_model_and_assets())
    return Environment(physics, Backwards(_SPEED[task]), control_timestep=_CONTROL_TIMESTEP)
