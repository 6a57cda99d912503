"""Muscles as straight lines over way-points: the bundled leg muscles, and arrays for a simulator.

The force law is that of the paper's muscle-driven humanoid: a unit pulls along its path with `activation * 0.36 * f0`,
activation = (action + 1) / 2, without mass and independent of length and speed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pwm.runtime.errors import PWMError

STRENGTH = 0.36
"""Fraction of its peak force that a fully activated unit exerts."""

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class MuscleUnit:
    """One straight-line unit of a muscle.

    name        muscle, unit and side, e.g. "gluteus maximus 3 left"
    peak_force  f0 in newtons
    path        (body, point) from origin to insertion; points in metres, in world coordinates of the neutral pose
    actions     the joint motions that the unit drives in the neutral pose, e.g. "hip_flexion"; may be empty
    """

    name: str
    peak_force: float
    path: tuple[tuple[str, tuple[float, float, float]], ...]
    actions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segments:
    """The parts of all units' paths that connect two bodies; parts inside one body exert no force.

    unit     int32 [S], the unit of each segment
    bodies   int32 [S, 2], the two bodies
    points   float32 [S, 2, 3], the two ends, each in its body's frame
    strength float32 [units], newtons at full activation
    """

    unit: np.ndarray
    bodies: np.ndarray
    points: np.ndarray
    strength: np.ndarray


def leg_muscles() -> list[MuscleUnit]:
    """The 152 units of the bundled legs (assets/muscle-humanoid.csv): 76 on the left, then their mirror images.

    Way-points were placed by hand at anatomical landmarks. Peak forces are rounded from Arnold, Ward, Lieber and Delp,
    A Model of the Lower Limb for Analysis of Human Movement (2010), divided evenly among a muscle's units.
    """
    left = read_muscles(ASSETS / "muscle-humanoid.csv", side="left")
    return left + [mirrored(unit) for unit in left]


def read_muscles(path: Path, side: str) -> list[MuscleUnit]:
    """The units of a table with the columns muscle, unit, peak_force, actions, path ("body x y z > body x y z ...").

    Bodies other than the pelvis get the suffix `_<side>`. Raises PWMError, naming the line, for an invalid row.
    """
    units = []
    with open(path, newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            where = f"{path}, line {line}"
            try:
                points = tuple(_way_point(text, side) for text in row["path"].split(">"))
                force = float(row["peak_force"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise PWMError(f"{where}: not a muscle ({error}); compare the lines above it") from error
            name = f"{row['muscle']} {row['unit']} {side}"
            units.append(checked(MuscleUnit(name, force, points, tuple(row["actions"].split())), where))
    return units


def checked(unit: MuscleUnit, where: str) -> MuscleUnit:
    """Returns `unit`. Raises PWMError if it has fewer than two way-points or invalid numbers."""
    if len(unit.path) < 2 or len({body for body, _ in unit.path}) < 2:
        raise PWMError(f"{where}: muscle {unit.name} joins no two bodies; give way-points on at least two")
    if not (np.isfinite(unit.peak_force) and unit.peak_force > 0):
        raise PWMError(f"{where}: muscle {unit.name} has a peak force of {unit.peak_force}; it must be above 0")
    if not np.isfinite([point for _, point in unit.path]).all():
        raise PWMError(f"{where}: muscle {unit.name} has a way-point that is not finite")
    return unit


def mirrored(unit: MuscleUnit) -> MuscleUnit:
    """The same unit on the right side of the body (y becomes -y)."""
    path = tuple((body.replace("_left", "_right"), (x, -y, z)) for body, (x, y, z) in unit.path)
    return replace(unit, name=unit.name.replace(" left", " right"), path=path)


def segments(units: Sequence[MuscleUnit], bodies: Sequence[str], origins: Mapping[str, Iterable[float]]) -> Segments:
    """The arrays of `units` for a simulator that numbers its bodies as in `bodies`.

    Args:
        origins: world position of every body's frame in the neutral pose, in which all frames are axis-aligned.

    Raises:
        PWMError: a unit is attached to an unknown body.
    """
    index = {body: i for i, body in enumerate(bodies)}
    unit_of, pairs, points = [], [], []
    for number, unit in enumerate(units):
        for body, _ in unit.path:
            if body not in index:
                raise PWMError(f"muscle {unit.name}: no body called {body}; there are {', '.join(bodies)}")
        for (first, a), (second, b) in zip(unit.path[:-1], unit.path[1:]):
            if first != second:
                unit_of.append(number)
                pairs.append((index[first], index[second]))
                points.append((np.subtract(a, tuple(origins[first])), np.subtract(b, tuple(origins[second]))))
    return Segments(
        np.array(unit_of, np.int32),
        np.array(pairs, np.int32).reshape(-1, 2),
        np.array(points, np.float32).reshape(-1, 2, 3),
        np.array([STRENGTH * unit.peak_force for unit in units], np.float32),
    )


def _way_point(text: str, side: str) -> tuple[str, tuple[float, float, float]]:
    body, x, y, z = text.split()
    return (body if body == "pelvis" else f"{body}_{side}"), (float(x), float(y), float(z))
