"""Skeletons and muscles in the XML files of MASS (Lee et al., Scalable Muscle-Actuated Human Simulation, 2019).

The files are not part of this package. They are in metres with y up and the figure facing z; here x is forward, y left
and z up, so their (x, y, z) is (z, x, y) here. All positions are in world coordinates of the rest pose.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.muscles import MuscleUnit, checked

LOWER_BODY = ("Pelvis", *(f"{part}{s}" for s in "LR" for part in ("Femur", "Tibia", "Talus", "FootThumb", "FootPinky")))
"""The bodies of the paper's muscle-driven humanoid."""

_HERE_FROM_THERE = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_BALL = {"y": 0, "x": 2, "z": 1}  # hinges of a ball joint: our axis -> the file's axis
_HINGE = {"damping": "2", "stiffness": "5", "armature": "0.05"}  # N m s/rad, N m/rad, kg m2: the paper's simulator's
_SLIP = 0.15  # MASS's own femurs have an entry of 0.21 where a rotation has 0.002


@dataclass(frozen=True)
class MassModel:
    """A skeleton as MJCF text, its units, and the world position [3] of each body's frame in the rest pose.

    hinges  degrees of freedom besides the root body's six
    """

    mjcf: str
    units: list[MuscleUnit]
    origins: dict[str, np.ndarray]
    hinges: int


def read_mass(skeleton: str | Path, muscles: str | Path, bodies: Collection[str] = LOWER_BODY) -> MassModel:
    """Read a skeleton and the muscles that are attached only to `bodies`, one of which floats freely.

    Ball joints become three hinges about the joint's x, z and y axes (for a leg: flexion, abduction, rotation), with
    the file's limits for each axis. Damping, spring and reflected inertia are those of the paper's simulator, since
    the files do not have them.

    Raises:
        PWMError: a file is missing or not XML of this format, a body or number is missing or invalid, or no muscle is
            left.
    """
    skeleton, muscles = Path(skeleton), Path(muscles)
    nodes = {node.get("name", ""): node for node in _parse(skeleton).iter("Node")}
    missing = [body for body in bodies if body not in nodes]
    if missing:
        raise PWMError(f"{skeleton}: has no node {missing[0]}; it has {', '.join(nodes) or 'none'}")
    origins = {body: _position(nodes[body].find("Joint"), f"{skeleton}, joint of {body}") for body in bodies}
    root = Element("mujoco", model=skeleton.stem)
    ElementTree.SubElement(root, "compiler", angle="radian")
    made = {"None": ElementTree.SubElement(root, "worldbody")}
    for body in nodes:  # parents come before their children
        if body in origins:
            parent = nodes[body].get("parent", "None")
            if parent not in made:
                raise PWMError(f"{skeleton}: the parent {parent} of {body} is not among the chosen bodies before it")
            if parent == "None" and len(made) > 1:
                raise PWMError(f"{skeleton}: {body} has no parent, like {list(made)[1]}; only one body may float")
            made[body] = _body(made[parent], body, nodes[body], origins, f"{skeleton}, {body}")
    units = []
    for unit in _parse(muscles).iter("Unit"):
        where = f"{muscles}, unit {unit.get('name')}"
        names = [point.get("body", "") for point in unit.iter("Waypoint")]
        if set(names) <= set(bodies) and len(set(names)) > 1:
            points = [_HERE_FROM_THERE @ _numbers(point.get("p"), 3, where) for point in unit.iter("Waypoint")]
            path = tuple((name, (float(x), float(y), float(z))) for name, (x, y, z) in zip(names, points))
            force = float(_numbers(unit.get("f0"), 1, where)[0])
            units.append(checked(MuscleUnit(unit.get("name", ""), force, path), where))
    if not units:
        raise PWMError(f"{muscles}: no muscle is attached to at least two of {', '.join(bodies)}, and to nothing else")
    return MassModel(ElementTree.tostring(root, encoding="unicode"), units, origins, len(root.findall(".//joint")))


def _body(parent: Element, name: str, node: Element, origins: dict[str, np.ndarray], where: str) -> Element:
    """The node as an MJCF body inside `parent`."""
    above = origins.get(node.get("parent", ""), np.zeros(3))
    body = ElementTree.SubElement(parent, "body", name=name, pos=_text(origins[name] - above))
    box, joint = node.find("Body"), node.find("Joint")
    if box is None or joint is None or box.get("type") != "Box":
        raise PWMError(f"{where}: needs a Body of type Box and a Joint")
    if (joint.get("type") == "Free") != (parent.tag == "worldbody"):
        raise PWMError(f"{where}: the body without a parent, and no other, needs a Joint of type Free")
    _joints(body, name, joint, where)
    size, mass = _numbers(box.get("size"), 3, where), _numbers(box.get("mass"), 1, where)
    if min(*size, *mass) <= 0:
        raise PWMError(f"{where}: size {_text(size)} and mass {_text(mass)} must be above 0")
    facts = {"size": _text(size / 2), "mass": _text(mass)}
    turn = _HERE_FROM_THERE @ _rotation(box, where)
    facts |= {"pos": _text(_position(box, where) - origins[name]), "quat": _text(_quaternion(turn))}
    ElementTree.SubElement(body, "geom", type="box", **facts)
    return body


def _joints(body: Element, name: str, joint: Element, where: str) -> None:
    kind, axes = joint.get("type"), _HERE_FROM_THERE @ _rotation(joint, where)
    if kind == "Free":
        ElementTree.SubElement(body, "freejoint", name=name)
    elif kind == "Ball":
        lower, upper = (_numbers(joint.get(key), 3, where) for key in ("lower", "upper"))
        for axis, i in _BALL.items():
            _hinge(body, f"{name}_{axis}", axes[:, i], float(lower[i]), float(upper[i]), where)
    elif kind == "Revolute":
        axis = axes @ _numbers(joint.get("axis"), 3, where)
        lower, upper = (float(_numbers(joint.get(key), 1, where)[0]) for key in ("lower", "upper"))
        _hinge(body, name, axis, lower, upper, where)
    elif kind != "Weld":
        raise PWMError(f"{where}: a joint of type {kind}; known are Free, Ball, Revolute and Weld")


def _hinge(body: Element, name: str, axis: np.ndarray, lower: float, upper: float, where: str) -> None:
    if not lower < upper:
        raise PWMError(f"{where}: the joint's lower limit {lower:g} must be below the upper one, {upper:g}")
    if np.linalg.norm(axis) < 1e-6:
        raise PWMError(f"{where}: the joint's axis has no length")
    facts = {"axis": _text(axis), "range": f"{lower:g} {upper:g}", "limited": "true"}
    ElementTree.SubElement(body, "joint", name=name, type="hinge", **facts, **_HINGE)


def _parse(path: Path) -> Element:
    try:
        return ElementTree.parse(path).getroot()
    except OSError as error:
        raise PWMError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter two: an unknown encoding
        raise PWMError(f"{path}: is not XML ({error}); name a file of MASS") from error


def _transformation(element: Element | None, where: str) -> Element:
    found = None if element is None else element.find("Transformation")
    if found is None:
        raise PWMError(f"{where}: has no Transformation; name a file of MASS")
    return found


def _position(element: Element | None, where: str) -> np.ndarray:
    return _HERE_FROM_THERE @ _numbers(_transformation(element, where).get("translation"), 3, where)


def _rotation(element: Element, where: str) -> np.ndarray:
    """The rotation [3, 3] nearest to the linear part of the element's Transformation."""
    linear = _numbers(_transformation(element, where).get("linear"), 9, where).reshape(3, 3)
    left, _, right = np.linalg.svd(linear)
    turn = left @ right
    if np.linalg.det(turn) < 0 or np.abs(turn - linear).max() > _SLIP:
        raise PWMError(f"{where}: the linear part of its Transformation is no rotation")
    return turn


def _numbers(text: str | None, count: int, where: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in (text or "").split()])
    except ValueError:
        values = np.array([])
    if len(values) != count or not np.isfinite(values).all():
        raise PWMError(f"{where}: {text!r} should be {count} finite numbers")
    return values


def _quaternion(turn: np.ndarray) -> np.ndarray:
    """(w, x, y, z) of a rotation matrix: the dominant eigenvector of Bar-Itzhack's symmetric matrix."""
    (a, b, c), (d, e, f), (g, h, i) = turn
    k = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    return np.linalg.eigh(k)[1][:, -1]


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in np.atleast_1d(values))
