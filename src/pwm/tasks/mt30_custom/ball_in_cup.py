"""The suite's ball in a cup, swung around the cup instead of caught."""

from __future__ import annotations

import numpy as np
from dm_control.rl.control import Environment
from dm_control.suite import ball_in_cup, base

from pwm.tasks.mt30_custom.shaping import INFINITY, linear

_DISTANCE = 0.5  # metres; the string allows about 0.36
_SPEED = 6.0  # metres per second
_START_ANYWHERE = 0.1  # share of the episodes; the others start with the ball in the cup
_CONTROL_TIMESTEP = 0.02


class Spin(ball_in_cup.BallInCup):
    """(distance + 2 speed) / 3 of the ball while it is out of the cup."""

    def initialize_episode(self, physics: ball_in_cup.Physics) -> None:
        anywhere = self.random.uniform() < _START_ANYWHERE
        fits = False
        while not fits:
            physics.named.data.qpos["ball_x"] = self.random.uniform(-0.2, 0.2)
            physics.named.data.qpos["ball_z"] = self.random.uniform(0.2, 0.5)
            physics.after_reset()
            fits = physics.data.ncon == 0 and bool(anywhere or physics.in_target())
        base.Task.initialize_episode(self, physics)

    def get_reward(self, physics: ball_in_cup.Physics) -> float:
        if physics.in_target():
            return 0.0
        velocity = [float(physics.named.data.qvel[joint][0]) for joint in ("ball_x", "ball_z")]
        distance = linear(np.linalg.norm(physics.ball_to_target()), _DISTANCE, INFINITY, _DISTANCE / 2, 0.5)
        speed = linear(np.linalg.norm(velocity), _SPEED, INFINITY, _SPEED / 2, 0.5)
        return (distance + 2 * speed) / 3


def load(task: str) -> Environment:
    physics = ball_in_cup.Physics.from_xml_string(*ball_in_cup.get_model_and_assets())
    return Environment(physics, Spin(), control_timestep=_CONTROL_TIMESTEP)
