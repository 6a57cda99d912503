"""The suite's models with other rewards and, for the cup and the reacher, another start or arm.

Units are metres, seconds and radians. Imports the suite, so it is imported only when an environment is made.
"""

from __future__ import annotations

from functools import partial
from xml.etree import ElementTree

import numpy as np
from dm_control.rl.control import Environment
from dm_control.suite import ball_in_cup, base, cheetah, hopper, pendulum, reacher, walker
from dm_control.utils.rewards import tolerance

_INFINITY = float("inf")
_CUP_DISTANCE = 0.5  # the string allows about 0.36
_CUP_START_ANYWHERE = 0.1  # share of the episodes; the others start with the ball in the cup

# Along each link's x axis. The finger reaches 0.27 m, as far as the two links of the suite reach 0.24 m.
_ARM = """
<body name="arm0" pos="0 0 .01">
  <joint name="shoulder0"/>
  <geom name="arm0" type="capsule" fromto="0 0 0 .09 0 0" size=".01" material="self"/>
  <body name="arm1" pos=".09 0 0">
    <joint name="shoulder1" limited="true" range="-80 80"/>
    <geom name="arm1" type="capsule" fromto="0 0 0 .09 0 0" size=".01" material="self"/>
    <body name="hand" pos=".09 0 0">
      <joint name="wrist" limited="true" range="-80 80"/>
      <geom name="hand" type="capsule" fromto="0 0 0 .1 0 0" size=".01" material="self"/>
      <body name="finger" pos=".09 0 0">
        <camera name="hand" pos="0 0 .2" mode="track"/>
        <geom name="finger" type="sphere" size=".01" material="effector"/>
      </body>
    </body>
  </body>
</body>
"""


def linear(x: float, low: float, high: float, margin: float, value_at_margin: float) -> float:
    """1 in [low, high], falling linearly to 0 outside, with `value_at_margin` at the distance `margin`."""
    return float(tolerance(float(x), (low, high), margin, "linear", value_at_margin))


def tall(height: float) -> float:
    """1 from 1.2 m up, falling as a Gaussian below, with 0.1 at 0.6 m."""
    return float(tolerance(float(height), (1.2, _INFINITY), margin=0.6))


class WalkerBackwards(walker.PlanarWalker):
    """stand * (5 move + 1) / 6: the suite's reward with the opposite sign of the speed."""

    def get_reward(self, physics: walker.Physics) -> float:
        speed = self._move_speed
        stand = (3 * tall(physics.torso_height()) + (1 + physics.torso_upright()) / 2) / 4
        move = linear(physics.horizontal_velocity(), -_INFINITY, -speed, speed / 2, 0.5)
        return stand * (5 * move + 1) / 6


class CheetahBackwards(cheetah.Cheetah):
    def get_reward(self, physics: cheetah.Physics) -> float:
        return linear(physics.speed(), -_INFINITY, -8.0, 8.0, 0.0)


class CheetahOnOneFoot(cheetah.Cheetah):
    """Running forwards with the torso and one foot ("bfoot" or "ffoot") raised as high as possible."""

    def __init__(self, raised_foot: str) -> None:
        super().__init__()
        self._raised_foot = raised_foot

    def get_reward(self, physics: cheetah.Physics) -> float:
        up = (3 * tall(_height(physics, self._raised_foot)) + 2 * tall(_height(physics, "torso"))) / 5
        run = linear(physics.speed(), 6.0, _INFINITY, 6.0, 0.0)
        return up * (5 * run + 1) / 6


class CheetahJump(cheetah.Cheetah):
    """Both ends of the body high at once, without moving forwards or backwards."""

    def get_reward(self, physics: cheetah.Physics) -> float:
        still = linear(physics.speed(), -0.5, 0.5, 0.5, 0.0)
        torso, feet = _height(physics, "torso"), (_height(physics, "bfoot"), _height(physics, "ffoot"))
        return sum((5 * tall((torso + foot) / 2) + still) / 6 for foot in feet) / 2


class HopBackwards(hopper.Hopper):
    """Towards -x at half the target speed of hopping forwards."""

    def get_reward(self, physics: hopper.Physics) -> float:
        standing = 1.0 if 0.6 <= physics.height() <= 2.0 else 0.0
        return standing * linear(physics.speed(), -_INFINITY, -1.0, 0.5, 0.5)


class CupSpin(ball_in_cup.BallInCup):
    """(distance + 2 speed) / 3 of the ball while it is out of the cup."""

    def initialize_episode(self, physics: ball_in_cup.Physics) -> None:
        anywhere = self.random.uniform() < _CUP_START_ANYWHERE
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
        distance = linear(np.linalg.norm(physics.ball_to_target()), _CUP_DISTANCE, _INFINITY, _CUP_DISTANCE / 2, 0.5)
        speed = linear(np.linalg.norm(velocity), 6.0, _INFINITY, 3.0, 0.5)
        return (distance + 2 * speed) / 3


class PendulumSpin(pendulum.SwingUp):
    """Spinning in either direction."""

    def get_reward(self, physics: pendulum.Physics) -> float:
        return linear(abs(float(physics.angular_velocity()[0])), 9.0, _INFINITY, 4.5, 0.5)


def _height(physics: cheetah.Physics, body: str) -> float:
    return physics.named.data.xpos[body, "z"]


def _with_three_links(xml: str) -> str:
    """The suite's reacher model (MJCF) with the arm and the motors replaced."""
    model = ElementTree.fromstring(xml)
    world, actuators = model.find("worldbody"), model.find("actuator")
    model.set("model", "three-link planar reacher")
    world.remove(world.find("body"))
    world.append(ElementTree.fromstring(_ARM))
    actuators.clear()
    for joint in ("shoulder0", "shoulder1", "wrist"):
        ElementTree.SubElement(actuators, "motor", name=joint, joint=joint)
    return ElementTree.tostring(model, encoding="unicode")


# The module of the suite, the task, and the control step (None: the model's).
_TASKS = {
    "walker-walk-backwards": (walker, partial(WalkerBackwards, 1.0), 0.025),
    "walker-run-backwards": (walker, partial(WalkerBackwards, 8.0), 0.025),
    "cheetah-run-backwards": (cheetah, CheetahBackwards, None),
    "cheetah-run-front": (cheetah, partial(CheetahOnOneFoot, "bfoot"), None),
    "cheetah-run-back": (cheetah, partial(CheetahOnOneFoot, "ffoot"), None),
    "cheetah-jump": (cheetah, CheetahJump, None),
    "hopper-hop-backwards": (hopper, partial(HopBackwards, hopping=True), 0.02),
    "reacher-three-easy": (reacher, partial(reacher.Reacher, 0.05), None),
    "reacher-three-hard": (reacher, partial(reacher.Reacher, 0.015), None),
    "cup-spin": (ball_in_cup, CupSpin, 0.02),
    "pendulum-spin": (pendulum, PendulumSpin, None),
}


def load(id: str) -> Environment:
    """The suite's environment of a custom task."""
    model, task, control_timestep = _TASKS[id]
    xml, assets = model.get_model_and_assets()
    physics = model.Physics.from_xml_string(_with_three_links(xml) if model is reacher else xml, assets)
    return Environment(physics, task(), control_timestep=control_timestep)
