"""Skeletons and muscles in the XML files of MASS (Lee et al., Scalable Muscle-Actuated Human Simulation, 2019).

The files themselves are not part of this package. They are in metres with y up and the figure facing z; here x is
forward, y left and z up, so (x, y, z) there is (z, x, y) here. All their positions are in world coordinates of the
rest pose.
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


@dataclass(frozen=True)
class MassModel:
    """A skeleton as MJCF text, its units, and the world position [3] of each body's frame in the rest pose."""

    mjcf: str
    units: list[MuscleUnit]
    origins: dict[str, np.ndarray]


def read_mass(skeleton: Path, muscles: Path, bodies: Collection[str] = LOWER_BODY, damping: float = 3.0) -> MassModel:
    """Read a skeleton and the muscles that are attached to nothing but `bodies`.

    Ball joints become three hinges about the world's axes in the rest pose, each with the limits that the file gives
    for the same axis; `damping` is that of every hinge (N m s/rad), of which the files say nothing.

    Raises:
        PWMError: a file is missing or no XML of this kind, a body or number is missing, or no muscle is left.
    """
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
            made[body] = _body(made[parent], body, nodes[body], origins, f"{skeleton}, {body}", damping)
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
    return MassModel(ElementTree.tostring(root, encoding="unicode"), units, origins)


def _body(
    parent: Element, name: str, node: Element, origins: dict[str, np.ndarray], where: str, damping: float
) -> Element:
    """The node as an MJCF body inside `parent`."""
    above = origins.get(node.get("parent", ""), np.zeros(3))
    body = ElementTree.SubElement(parent, "body", name=name, pos=_text(origins[name] - above))
    box, joint = node.find("Body"), node.find("Joint")
    if box is None or joint is None or box.get("type") != "Box":
        raise PWMError(f"{where}: needs a Body of type Box and a Joint")
    _joints(body, name, joint, where, damping)
    turn = _HERE_FROM_THERE @ _numbers(_transformation(box, where).get("linear"), 9, where).reshape(3, 3)
    if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3):
        raise PWMError(f"{where}: the linear part of its Transformation is no rotation")
    facts = {"size": _text(_numbers(box.get("size"), 3, where) / 2), "mass": _text(_numbers(box.get("mass"), 1, where))}
    facts |= {"pos": _text(_position(box, where) - origins[name]), "quat": _text(_quaternion(turn))}
    ElementTree.SubElement(body, "geom", type="box", **facts)
    return body


def _joints(body: Element, name: str, joint: Element, where: str, damping: float) -> None:
    kind = joint.get("type")
    if kind == "Free":
        ElementTree.SubElement(body, "freejoint", name=name)
    elif kind == "Ball":
        lower, upper = (_HERE_FROM_THERE @ _numbers(joint.get(key), 3, where) for key in ("lower", "upper"))
        for i, axis in enumerate("xyz"):
            _hinge(body, f"{name}_{axis}", np.eye(3)[i], float(lower[i]), float(upper[i]), damping)
    elif kind == "Revolute":
        axis = _HERE_FROM_THERE @ _numbers(joint.get("axis"), 3, where)
        lower, upper = (float(_numbers(joint.get(key), 1, where)[0]) for key in ("lower", "upper"))
        _hinge(body, name, axis, lower, upper, damping)
    elif kind != "Weld":
        raise PWMError(f"{where}: a joint of type {kind}; known are Free, Ball, Revolute and Weld")


def _hinge(body: Element, name: str, axis: np.ndarray, lower: float, upper: float, damping: float) -> None:
    facts = {"axis": _text(axis), "range": f"{lower:g} {upper:g}", "limited": "true", "damping": f"{damping:g}"}
    ElementTree.SubElement(body, "joint", name=name, type="hinge", **facts)


def _parse(path: Path) -> Element:
    try:
        return ElementTree.parse(path).getroot()
    except OSError as error:
        raise PWMError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ElementTree.ParseError as error:
        raise PWMError(f"{path}: is not XML ({error}); name a file of MASS") from error


def _transformation(element: Element | None, where: str) -> Element:
    found = None if element is None else element.find("Transformation")
    if found is None:
        raise PWMError(f"{where}: has no Transformation; name a file of MASS")
    return found


def _position(element: Element | None, where: str) -> np.ndarray:
    return _HERE_FROM_THERE @ _numbers(_transformation(element, where).get("translation"), 3, where)


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
