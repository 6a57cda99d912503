"""The rewards on states put together by hand, against formulas and planar geometry written out here."""

from functools import cache
from math import cos, hypot, pi, sin, sqrt

import numpy as np
import pytest

from pwm.tasks.registry import get_task


@cache
def environment_of(task):
    """The suite's side of the task, in an episode."""
    env = get_task(task).make()
    env.reset(seed=0)
    return env._environment


def reward(task, qpos, qvel=()):
    """What the task pays in the state of these positions and velocities; joints by name, all others zero."""
    environment = environment_of(task)
    physics = environment.physics
    with physics.reset_context():
        physics.data.qpos[:], physics.data.qvel[:] = 0.0, 0.0
        for joint, value in dict(qpos).items():
            physics.named.data.qpos[joint] = value
        for joint, value in dict(qvel).items():
            physics.named.data.qvel[joint] = value
    return environment.task.get_reward(physics)


def clip(x):
    return min(max(x, 0.0), 1.0)


def tall(height):
    """1 above 1.2 m, below it 0.1 to the square of the shortfall in units of 0.6 m."""
    return 1.0 if height >= 1.2 else 0.1 ** (((1.2 - height) / 0.6) ** 2)


def turned(x, z, angle):
    """A vector in the plane turned about +y."""
    return x * cos(angle) + z * sin(angle), -x * sin(angle) + z * cos(angle)


def chain(root, links):
    """Position of the last joint of a chain: links are (x, z, angle of the joint they hang on)."""
    (x, z), angle = root, 0.0
    for dx, dz, joint in links:
        angle += joint
        dx, dz = turned(dx, dz, angle)
        x, z = x + dx, z + dz
    return x, z


@pytest.mark.parametrize(("task", "target"), [("walker-walk-backwards", 1.0), ("walker-run-backwards", 8.0)])
@pytest.mark.parametrize("lift", [0.5, -0.1, -0.3, -0.9])
@pytest.mark.parametrize("tilt", [0.0, 0.7, -2.5])
@pytest.mark.parametrize("speed", [1.0, 0.0, -0.5, -2.0, -9.0])
def test_walker_backwards(task, target, lift, tilt, speed):
    stand = (3 * tall(1.3 + lift) + (1 + cos(tilt)) / 2) / 4
    expected = stand * (5 * clip(-speed / target) + 1) / 6
    # The legs' angles move no part of the torso.
    qpos = {"rootz": lift, "rooty": tilt, "right_hip": 0.4, "left_knee": -1.0}
    assert reward(task, qpos, {"rootx": speed}) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("speed", [3.0, 0.0, -2.0, -7.9, -8.0, -20.0])
def test_cheetah_run_backwards(speed):
    assert reward("cheetah-run-backwards", {}, {"rootx": speed}) == pytest.approx(clip(-speed / 8), abs=1e-12)


# Lift of the root, tilt, angles of thigh and shin; the foot's own joint does not move its frame.
POSES = [
    (0.0, 0.0, 0.0, 0.0),
    (0.8, 0.3, -0.5, 0.2),
    (0.4, -1.2, 0.9, -0.4),
    (1.5, 2.8, 0.1, 0.6),
    (0.2, 1.5, 0.5, 0.0),
]


def feet(lift, tilt, thigh, shin):
    """Heights of torso, back foot and front foot of the cheetah."""
    root = (0.0, 0.7 + lift)
    back = chain(root, [(-0.5, 0.0, tilt), (0.16, -0.25, thigh), (-0.28, -0.14, shin)])
    front = chain(root, [(0.5, 0.0, tilt), (-0.14, -0.24, thigh), (0.13, -0.18, shin)])
    return 0.7 + lift, back[1], front[1]


def cheetah_pose(lift, tilt, thigh, shin):
    joints = {"rootz": lift, "rooty": tilt, "bfoot": 0.3, "ffoot": -0.2}
    return joints | {f"{side}{part}": angle for side in "bf" for part, angle in (("thigh", thigh), ("shin", shin))}


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("speed", [-2.0, 0.0, 3.0, 6.0, 11.0])
def test_cheetah_run_on_one_foot(pose, speed):
    torso, back, front = feet(*pose)
    for task, raised in (("cheetah-run-front", back), ("cheetah-run-back", front)):
        up = (3 * tall(raised) + 2 * tall(torso)) / 5
        expected = up * (5 * clip(speed / 6) + 1) / 6
        assert reward(task, cheetah_pose(*pose), {"rootx": speed}) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize(
    ("speed", "still"), [(0.0, 1.0), (-0.5, 1.0), (0.75, 0.5), (-0.9, 0.2), (1.0, 0.0), (4.0, 0.0)]
)
def test_cheetah_jump(pose, speed, still):
    torso, back, front = feet(*pose)
    expected = sum((5 * tall((torso + foot) / 2) + still) / 6 for foot in (back, front)) / 2
    assert reward("cheetah-jump", cheetah_pose(*pose), {"rootx": speed}) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def hopper_height(tilt, hip):
    """Height of the torso's centre of mass over the foot's, knee and ankle and waist straight."""

    def capsule(length, radius):
        return pi * radius**2 * length + 4 / 3 * pi * radius**3

    trunk, nose = capsule(0.25, 0.0653), capsule(sqrt(0.07**2 + 0.01**2), 0.03)
    x, z = 0.115 * nose / (trunk + nose), (0.075 * trunk + 0.135 * nose) / (trunk + nose)
    torso = turned(x, z, tilt)
    foot = chain(
        (0.0, 0.0), [(0.0, -0.05, tilt), (0.0, -0.2, 0.0), (0.0, -0.33, hip), (0.0, -0.32, 0.0), (0.045, 0, 0)]
    )
    return torso[1] - foot[1]


@pytest.mark.parametrize(
    ("tilt", "hip", "stands"),
    [(0.0, 0.0, 1), (0.85, 0.0, 1), (0.95, 0.0, 0), (3.0, 0.0, 0), (0.0, -0.9, 1), (0.0, -1.2, 0)],
)
@pytest.mark.parametrize("speed", [0.5, 0.0, -0.3, -1.0, -5.0])
def test_hopper_hop_backwards(tilt, hip, stands, speed):
    assert stands == (0.6 <= hopper_height(tilt, hip) <= 2.0)
    pose = {"rootz": 3.0, "rooty": tilt, "hip": hip}
    assert reward("hopper-hop-backwards", pose, {"rootx": speed}) == pytest.approx(stands * clip(-speed), abs=1e-12)


def test_hopper_stands_up_to_the_very_height():
    """The height of the hand-made states is the simulator's: at 0.6 m the reward jumps."""
    from scipy.optimize import brentq

    tilt = brentq(lambda tilt: hopper_height(tilt, 0.0) - 0.6, 0.0, 1.5)
    just_in, just_out = ({"rootz": 3.0, "rooty": tilt + offset} for offset in (-1e-6, 1e-6))
    assert reward("hopper-hop-backwards", just_in, {"rootx": -1.0}) == pytest.approx(1.0)
    assert reward("hopper-hop-backwards", just_out, {"rootx": -1.0}) == 0.0


@pytest.mark.parametrize("speed", [0.0, 2.0, -4.5, 8.9, -9.0, 30.0])
def test_pendulum_spin(speed):
    assert reward("pendulum-spin", {"hinge": 1.0}, {"hinge": speed}) == pytest.approx(clip(abs(speed) / 9), abs=1e-12)


@pytest.mark.parametrize(
    ("ball", "cup", "inside"),
    [
        ((0.0, 0.35), (0.0, 0.0), True),  # right at the target: 0.2 + 0.35 = 0.6 - 0.05
        ((0.02, 0.33), (0.0, 0.0), True),
        ((0.03, 0.35), (0.0, 0.0), False),
        ((0.0, 0.38), (0.0, 0.0), False),
        ((0.03, 0.35), (0.02, 0.0), True),  # the cup has followed
        ((0.0, 0.35), (0.0, 0.03), False),
        ((-0.2, 0.1), (0.1, -0.05), False),
        ((0.4, -0.1), (0.0, 0.1), False),  # farther than the string allows: the distance term is full
    ],
)
@pytest.mark.parametrize("velocity", [(0.0, 0.0), (1.0, -2.0), (-6.0, 3.0)])
def test_cup_spin(ball, cup, inside, velocity):
    dx, dz = cup[0] - ball[0], (0.6 - 0.05 + cup[1]) - (0.2 + ball[1])
    expected = 0.0 if inside else (clip(hypot(dx, dz) / 0.5) + 2 * clip(hypot(*velocity) / 6)) / 3
    qpos = {"ball_x": ball[0], "ball_z": ball[1], "cup_x": cup[0], "cup_z": cup[1]}
    qvel = {"ball_x": velocity[0], "ball_z": velocity[1], "cup_x": 5.0}  # the cup's own speed earns nothing
    assert reward("cup-spin", qpos, qvel) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("task", "radius"), [("reacher-three-easy", 0.05), ("reacher-three-hard", 0.015)])
@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (2.0, 0.5, -1.0), (-9.0, -1.2, 1.3)])
def test_reacher_three(task, radius, angles):
    headings = np.cumsum(angles)
    finger = 0.09 * np.array([np.cos(headings).sum(), np.sin(headings).sum()])
    environment = environment_of(task)
    physics = environment.physics
    assert physics.named.model.geom_size["target", 0] == radius
    for distance, expected in ((0.0, 1.0), (radius + 0.0099, 1.0), (radius + 0.0101, 0.0), (0.3, 0.0)):
        target = finger + distance * np.array([cos(1.0), sin(1.0)])
        physics.named.model.geom_pos["target", ["x", "y"]] = target
        with physics.reset_context():
            physics.data.qpos[:], physics.data.qvel[:] = angles, (1.0, -2.0, 3.0)
        assert environment.task.get_reward(physics) == expected
        observation = np.concatenate(list(environment.task.get_observation(physics).values()))
        np.testing.assert_allclose(observation, [*angles, *(target - finger), 1.0, -2.0, 3.0], atol=1e-12)
