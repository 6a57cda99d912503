"""Loads a robot from its model file (MJCF, in the subset that Newton and MuJoCo share) as a Newton builder."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pwm.tasks.locomotion import kernels
from pwm.tasks.locomotion.muscles import ASSETS, MuscleUnit, Segments, leg_muscles, segments
from pwm.tasks.locomotion.newton_kernels import newton, prepare, wp

SPHERE, CAPSULE, BOX = (int(kind) for kind in (newton.GeoType.SPHERE, newton.GeoType.CAPSULE, newton.GeoType.BOX))
_COLLIDES = int(newton.ShapeFlags.COLLIDE_SHAPES)


@dataclass(frozen=True)
class ContactPoints:
    """Points where a robot can touch the ground: sphere centres, capsule ends and box corners, fixed to bodies.

    body    int32 [p]
    point   float32 [p, 3], in the body's frame, m
    radius  float32 [p], m
    """

    body: np.ndarray
    point: np.ndarray
    radius: np.ndarray


@dataclass(frozen=True)
class Robot:
    """One robot, ready to be replicated.

    builder   Newton's builder of one world
    contacts  its candidate contact points
    gear      float32 [m], N m (or N) per unit of action, in the order of the file's motors
    dof       int64 [m], the degree of freedom that each motor drives
    muscles   of a robot without motors; None otherwise
    """

    builder: newton.ModelBuilder
    contacts: ContactPoints
    gear: np.ndarray
    dof: np.ndarray
    muscles: Segments | None = None


def load_robot(name: str, limit_stiffness: float, device: str = "cpu") -> Robot:
    """The robot of `assets/<name>.xml`; see `build_robot`."""
    text = (ASSETS / f"{name}.xml").read_text()
    return build_robot(text, leg_muscles() if name == "muscle-humanoid" else (), limit_stiffness, device)


def build_robot(text: str, units: Sequence[MuscleUnit], limit_stiffness: float, device: str = "cpu") -> Robot:
    """The robot of a model file's text, driven by its motors or, if it has none, by muscles.

    units            way-points in world coordinates of the file's pose, in which all frames are axis-aligned
    limit_stiffness  N m/rad beyond a joint's limits. Limits have no damping, which would make the torque discontinuous
                     and its gradient wrong; the joints have their own.

    Raises PWMError if a muscle is attached to an unknown body.
    """
    prepare(device, kernels)
    builder = newton.ModelBuilder()
    builder.add_mjcf(text, enable_self_collisions=False, parse_mujoco_options=False)
    for i in range(builder.joint_dof_count):
        limited = builder.joint_limit_lower[i] > -1e6 or builder.joint_limit_upper[i] < 1e6
        builder.joint_limit_ke[i] = limit_stiffness if limited else 0.0
        builder.joint_limit_kd[i] = 0.0
    names = dof_names(text)
    file = ElementTree.fromstring(text)
    motors, default = file.findall("actuator/motor"), file.find("default/motor")
    gears = [float(motor.get("gear") or default.get("gear")) for motor in motors]
    dofs = [names.index(motor.get("joint")) for motor in motors]
    gear, dof = np.array(gears, np.float32), np.array(dofs, np.int64)
    bodies = [label.rsplit("/", 1)[-1] for label in builder.body_label]
    origins = {body: np.array(pose)[:3] for body, pose in zip(bodies, builder.body_q)}
    return Robot(builder, _contact_points(builder), gear, dof, segments(units, bodies, origins) if units else None)


def dof_names(text: str) -> list[str]:
    """The joint of each degree of freedom of a model file in Newton's order, depth first; a free joint has six."""
    names: list[str] = []
    for element in ElementTree.fromstring(text).find("worldbody").iter():
        if element.tag in ("joint", "freejoint"):
            names += [element.get("name")] * (6 if element.tag == "freejoint" else 1)
    return names


def _contact_points(builder: newton.ModelBuilder) -> ContactPoints:
    found: list[tuple[int, np.ndarray, float]] = []
    b = builder
    shapes = zip(b.shape_type, b.shape_body, b.shape_transform, b.shape_scale, b.shape_flags)
    for kind, body, pose, scale, flags in shapes:
        if body < 0 or not int(flags) & _COLLIDES:
            continue
        if int(kind) == SPHERE:
            places, radius = [(0.0, 0.0, 0.0)], scale[0]
        elif int(kind) == CAPSULE:
            places, radius = [(0.0, 0.0, scale[1]), (0.0, 0.0, -scale[1])], scale[0]
        elif int(kind) == BOX:
            signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, 8).T
            places, radius = [tuple(sign * np.array(scale)) for sign in signs], 0.0
        else:
            continue
        pose = wp.transform(*pose)
        found += [(body, np.array(wp.transform_point(pose, wp.vec3(*place))), radius) for place in places]
    body, point, radius = zip(*found)
    return ContactPoints(np.array(body, np.int32), np.array(point, np.float32), np.array(radius, np.float32))
