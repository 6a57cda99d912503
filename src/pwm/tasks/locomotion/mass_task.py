"""The muscle-driven humanoid with MASS's skeleton and muscle files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.engine import Engine
from pwm.tasks.locomotion.newton_kernels import wp
from pwm.tasks.locomotion.robot import Robot
from pwm.tasks.locomotion.runner import ANGLE_SPREAD, Runner

_HIGHEST = 2.0  # m, of a standing pelvis; if it is higher, the file is not in metres


def fit_runner(task: Runner, robot: Robot, engine: Engine, skeleton: str | Path) -> Runner:
    """`task` adapted to this robot's joints and muscles, starting on its feet.

    Starts are scattered around the pose closest to the file's in which the scatter stays within the joint limits, at a
    height where the lowest point is above the ground by half the scatter of heights. Termination and reward are
    unchanged.

    Raises PWMError if that pose is too low for the task or too high for a human, as in files not in metres.
    """
    limits = np.array([robot.builder.joint_limit_lower, robot.builder.joint_limit_upper])[:, 6:]
    middle, room = limits.mean(axis=0), np.maximum(np.diff(limits, axis=0)[0] / 2 - ANGLE_SPREAD / 2, 0.0)
    angles = np.clip(0.0, middle - room, middle + room)
    pose = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, *angles]])
    bodies = [wp.transform(*row) for row in engine.first_poses(pose)]
    points = zip(robot.contacts.body, robot.contacts.point, robot.contacts.radius)
    depth = max(radius - wp.transform_point(bodies[body], wp.vec3(*point))[2] for body, point, radius in points)
    height = float(depth) + task.start_spread / 2
    if not task.lowest < height < _HIGHEST:
        raise PWMError(
            f"{skeleton}: the pelvis stands at {height:.2f} m; it must be at {task.lowest} to {_HIGHEST} m, in metres"
        )
    units = len(robot.muscles.strength)
    return replace(task, start_height=height, start_angles=tuple(map(float, angles)), muscles=units)
