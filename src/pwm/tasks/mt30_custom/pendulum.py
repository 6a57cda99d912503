"""The suite's pendulum, spinning in either direction."""

from __future__ import annotations

from dm_control.rl.control import Environment
from dm_control.suite import pendulum

from pwm.tasks.mt30_custom.shaping import INFINITY, linear

_SPEED = 9.0  # radians per second


class Spin(pendulum.SwingUp):
    def get_reward(self, physics: pendulum.Physics) -> float:
        return linear(abs(float(physics.angular_velocity()[0])), _SPEED, INFINITY, _SPEED / 2, 0.5)


def load(task: str) -> Environment:
    return Environment(pendulum.Physics.from_xml_string(*pendulum.get_model_and_assets()), Spin())
