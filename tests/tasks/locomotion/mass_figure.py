"""A small figure in the layout of MASS's files: a pelvis and two legs, with a muscle for each way to move a joint."""

from __future__ import annotations

from pathlib import Path

EYE = "1 0 0 0 1 0 0 0 1"
# Of the left side: body -> parent, mass (kg), size and middle of its box (m), joint's kind, place and limits (rad).
# Axes as in the files: x to the left, y up, z forward.
_LEG = {
    "Femur": ("Pelvis", 7.0, "0.13 0.40 0.14", (0.095, 0.72, -0.02), "Ball", (0.09, 0.93, -0.01), "-2 -2 -2", "2 2 2"),
    "Tibia": ("Femur", 3.0, "0.11 0.42 0.11", (0.09, 0.30, -0.03), "Revolute", (0.095, 0.54, -0.01), "0", "2.3"),
    "Talus": ("Tibia", 0.7, "0.07 0.05 0.16", (0.08, 0.04, -0.02), "Ball", (0.08, 0.08, -0.04), "-1 -1 -1", "1 1 1"),
    "FootThumb": ("Talus", 0.2, "0.04 0.03 0.06", (0.07, 0.027, 0.09), "Revolute", (0.07, 0.02, 0.07), "-0.6", "0.6"),
    "FootPinky": ("Talus", 0.2, "0.04 0.03 0.06", (0.12, 0.027, 0.08), "Revolute", (0.12, 0.02, 0.05), "-0.6", "0.6"),
}
# Peak force (N), and way-points of the left side.
_MUSCLES = {
    "Glute": (900, "Pelvis", (0.05, 1.0, -0.1), "Femur", (0.13, 0.85, -0.06)),
    "Psoas": (900, "Pelvis", (0.08, 1.0, 0.06), "Femur", (0.1, 0.85, 0.05)),
    "Medius": (600, "Pelvis", (0.14, 1.03, 0.0), "Femur", (0.16, 0.9, -0.01)),
    "Adductor": (600, "Pelvis", (0.02, 0.9, 0.02), "Femur", (0.08, 0.75, 0.0)),
    "Vastus": (1500, "Femur", (0.1, 0.7, 0.06), "Tibia", (0.1, 0.5, 0.05)),
    "Biceps": (900, "Femur", (0.11, 0.7, -0.08), "Tibia", (0.1, 0.47, -0.06)),
    "Soleus": (1800, "Tibia", (0.09, 0.4, -0.08), "Talus", (0.08, 0.04, -0.09)),
    "Tibialis": (700, "Tibia", (0.09, 0.4, 0.03), "Talus", (0.07, 0.05, 0.04)),
    "Hallucis": (200, "Talus", (0.075, 0.01, 0.0), "FootThumb", (0.07, 0.008, 0.11)),
    "Digiti": (200, "Talus", (0.11, 0.06, 0.0), "FootPinky", (0.12, 0.045, 0.08)),
    "Trunk": (500, "Spine", (0.03, 1.1, -0.03), "Femur", (0.1, 0.87, -0.04)),
}


def write_figure(folder: Path, scale: float = 1.0) -> tuple[Path, Path]:
    """Write human.xml and muscles.xml: 18 hinges, 20 muscles on the legs and 2 on the spine; `scale` times as large."""
    nodes = [_node("Pelvis", "None", 15.0, "0.2 0.15 0.13", (0.0, 0.98, -0.03), "Free", (0.0, 0.98, -0.03), scale)]
    nodes.append(
        _node("Spine", "Pelvis", 5.0, "0.1 0.1 0.1", (0, 1.12, -0.03), "Weld", (0, 1.05, -0.03), scale),
    )
    units = []
    for side, sign in (("R", -1), ("L", 1)):
        for body, (parent, mass, size, middle, kind, place, lower, upper) in _LEG.items():
            parent = parent if parent == "Pelvis" else parent + side
            limits = f' lower="{lower}" upper="{upper}" axis="1 0 0"'
            points = [_mirrored(point, sign) for point in (middle, place)]
            nodes.append(_node(body + side, parent, mass, size, points[0], kind, points[1], scale, limits))
        for name, (force, first, a, second, b) in _MUSCLES.items():
            path = [(body if body in ("Pelvis", "Spine") else body + side) for body in (first, second)]
            points = [_text(_mirrored(point, sign), scale) for point in (a, b)]
            way = "".join(f'<Waypoint body="{body}" p="{point} "/>' for body, point in zip(path, points))
            units.append(f'<Unit name="{side}_{name}" f0="{force}" lm="1.0" lt="0.2" lmax="-0.1">{way}</Unit>')
    files = folder / "human.xml", folder / "muscles.xml"
    files[0].write_text('<Skeleton name="Human">' + "\n".join(nodes) + "</Skeleton>")
    files[1].write_text("<Muscle>" + "\n".join(units) + "</Muscle>")
    return files


def _mirrored(point: tuple[float, float, float], sign: int) -> tuple[float, float, float]:
    return sign * point[0], point[1], point[2]


def _text(point: tuple[float, float, float], scale: float) -> str:
    return " ".join(f"{scale * x:.6g}" for x in point)


def _node(name, parent, mass, size, middle, kind, place, scale, limits="") -> str:
    size = _text([float(word) for word in size.split()], scale)
    box = f'<Transformation linear="{EYE}" translation="{_text(middle, scale)} "/>'
    joint = f'<Transformation linear="{EYE}" translation="{_text(place, scale)}"/>'
    return f"""<Node name="{name}" parent="{parent}" >
  <Body type="Box" mass="{mass}" size="{size}" contact="On" obj="{name}.obj">{box}</Body>
  <Joint type="{kind}"{limits}>{joint}</Joint></Node>"""
