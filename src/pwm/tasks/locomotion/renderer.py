"""Renders a robot without OpenGL, by casting rays at capsules, spheres and boxes in NumPy.

Every shape is tested only in the pixels that its bounding sphere covers, so a picture takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pwm.tasks.locomotion.muscles import Segments
from pwm.tasks.locomotion.robot import BOX, CAPSULE, SPHERE, Robot

Array = np.ndarray

_SKY_TOP, _SKY_LOW = np.array([0.42, 0.60, 0.85]), np.array([0.86, 0.91, 0.96])
_TILES = np.array([[0.62, 0.65, 0.66], [0.74, 0.76, 0.76]])
_COLOURS = np.array([[0.86, 0.45, 0.25], [0.93, 0.70, 0.35], [0.35, 0.55, 0.72], [0.52, 0.70, 0.50]])
_MUSCLE, _MUSCLE_RADIUS = np.array([0.75, 0.12, 0.12]), 0.004
_LIGHT = np.array([-0.35, -0.55, 0.76]) / np.linalg.norm([-0.35, -0.55, 0.76])  # towards the light
_VIEW = np.array([0.35, -1.0, 0.28]) / np.linalg.norm([0.35, -1.0, 0.28])  # from the robot to the camera
_HALF_WIDTH = 0.42  # tangent of half the horizontal field of view
_TILE = 0.5  # m


@dataclass(frozen=True)
class _Shape:
    """A capsule (a sphere if `half` is zero) or a box, in its body's frame; `half` is along the local z axis."""

    body: int
    place: Array
    rotation: Array
    radius: float
    half: float
    box: Array | None
    colour: Array


class Renderer:
    """Draws one robot; the camera follows its root body.

    `poses` are float [bodies, 7]: position (m) and quaternion (x, y, z, w) of each body. `seen` are poses that must fit
    into the picture of `height` x `width` pixels.
    """

    def __init__(self, robot: Robot, seen: list[Array], height: int = 240, width: int = 320) -> None:
        self._shapes, self._muscles = _shapes(robot), robot.muscles
        ends = np.concatenate([_extent(shape, poses) for shape in self._shapes for poses in seen])
        low, high = ends.min(axis=0), ends.max(axis=0)
        self._target_height = float(low[2] + high[2]) / 2
        self._distance = float(max(1.2, 0.75 * np.linalg.norm(high - low))) / _HALF_WIDTH
        self._size = (height, width)
        right = np.cross([0.0, 0.0, 1.0], _VIEW)
        right /= np.linalg.norm(right)
        self._right, self._up = right, np.cross(_VIEW, right)
        x = (np.arange(width) + 0.5) / width * 2 - 1
        y = (1 - (np.arange(height) + 0.5) / height * 2) * height / width
        rays = -_VIEW + _HALF_WIDTH * (x[None, :, None] * self._right + y[:, None, None] * self._up)
        self._rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def draw(self, poses: Array) -> Array:
        """The picture, uint8 [height, width, 3]."""
        camera = np.array([poses[0, 0], poses[0, 1], self._target_height]) + self._distance * _VIEW
        picture, depth, ground = self._background(camera)
        for shape in self._shapes:
            self._shade_ground(shape, poses, camera, picture, ground)
        for shape in self._shapes:
            self._draw_shape(shape, poses, camera, picture, depth)
        if self._muscles is not None:
            for line in _lines(self._muscles, poses):
                self._draw_shape(line, poses, camera, picture, depth)
        return (picture.clip(0.0, 1.0) * 255).astype(np.uint8)

    def _background(self, camera: Array) -> tuple[Array, Array, Array]:
        """Picture, depth along each ray, and the point where each ray hits the ground (NaN if it does not)."""
        rays = self._rays
        down = rays[..., 2] < -1e-3
        depth = np.where(down, -camera[2] / np.where(down, rays[..., 2], -1.0), np.inf)
        ground = np.where(down[..., None], camera + np.where(down, depth, 0.0)[..., None] * rays, np.nan)
        sky = np.clip(rays[..., 2:] / 0.35, 0.0, 1.0)
        picture = _SKY_LOW + (_SKY_TOP - _SKY_LOW) * sky
        tile = np.floor(np.nan_to_num(ground[..., :2]) / _TILE).astype(np.int64).sum(axis=-1) % 2
        haze = np.exp(-np.where(down, depth, 0.0) / (6 * self._distance))[..., None]
        floor = _TILES[tile] * haze + _SKY_LOW * (1 - haze)
        return np.where(down[..., None], floor, picture), depth, ground

    def _draw_shape(self, shape: _Shape, poses: Array, camera: Array, picture: Array, depth: Array) -> None:
        place, rotation = _world(shape, poses)
        reach = np.linalg.norm(shape.box) if shape.box is not None else shape.radius + shape.half
        window = self._window(place, reach, camera)
        if window is None:
            return
        rays = self._rays[window]
        if shape.box is not None:
            distance, normal = _meet_box(camera - place, rays, rotation, shape.box)
        else:
            distance, normal = _meet_capsule(camera - place, rays, rotation[:, 2] * shape.half, shape.radius)
        nearer = distance < depth[window]
        light = 0.45 + 0.55 * np.clip(normal @ _LIGHT, 0.0, 1.0) + 0.1 * normal[..., 2]
        picture[window] = np.where(nearer[..., None], shape.colour * light[..., None], picture[window])
        depth[window] = np.where(nearer, distance, depth[window])

    def _shade_ground(self, shape: _Shape, poses: Array, camera: Array, picture: Array, ground: Array) -> None:
        place, rotation = _world(shape, poses)
        along, radius = rotation[:, 2] * shape.half, shape.radius
        ends = np.stack([place + along, place - along])
        ends = (ends - ends[:, 2:] / _LIGHT[2] * _LIGHT) * [1, 1, 0]
        centre, arm = ends.mean(axis=0), (ends[0] - ends[1]) / 2
        window = self._window(centre, float(np.linalg.norm(arm)) + radius, camera)
        if window is None:
            return
        offset = ground[window] - centre
        share = np.clip((offset @ arm) / max(arm @ arm, 1e-12), -1.0, 1.0)
        away = np.linalg.norm(offset - share[..., None] * arm, axis=-1)
        dark = np.where(away < radius, 0.72, 1.0)  # NaN is never less
        picture[window] = np.minimum(picture[window], picture[window] * dark[..., None])

    def _window(self, place: Array, reach: float, camera: Array) -> tuple[slice, slice] | None:
        """The pixels that a sphere may cover; None if there are none."""
        height, width = self._size
        seen = place - camera
        ahead = float(seen @ -_VIEW)
        if ahead < reach + 0.05:
            return None
        scale = width / (2 * _HALF_WIDTH * (ahead - reach))
        x = width / 2 + float(seen @ self._right) * width / (2 * _HALF_WIDTH * ahead)
        y = height / 2 - float(seen @ self._up) * width / (2 * _HALF_WIDTH * ahead)
        margin = 1.3 * reach * scale + 2
        rows = slice(max(0, int(y - margin)), min(height, int(y + margin) + 1))
        columns = slice(max(0, int(x - margin)), min(width, int(x + margin) + 1))
        return None if rows.start >= rows.stop or columns.start >= columns.stop else (rows, columns)


def _shapes(robot: Robot) -> list[_Shape]:
    builder, out = robot.builder, []
    columns = (builder.shape_type, builder.shape_body, builder.shape_transform, builder.shape_scale)
    for kind, body, pose, scale in zip(*columns):
        if body < 0:
            continue
        pose, scale, kind = np.array(pose, dtype=float), np.array(scale, dtype=float), int(kind)
        frame = (body, pose[:3], _matrix(pose[3:7]))
        colour = _COLOURS[0 if body == 0 else 1 + (body - 1) % (len(_COLOURS) - 1)]
        if kind == BOX:
            out.append(_Shape(*frame, float(scale.min()), 0.0, scale, colour))
        elif kind in (SPHERE, CAPSULE):
            half = float(scale[1]) if kind == CAPSULE else 0.0
            out.append(_Shape(*frame, float(scale[0]), half, None, colour))
    return out


def _lines(muscles: Segments, poses: Array) -> list[_Shape]:
    """The muscle segments at these poses as thin capsules, in the frame of the root body."""
    rotations = np.stack([_matrix(pose[3:]) for pose in poses])
    ends = poses[muscles.bodies, :3] + np.einsum("seij,sej->sei", rotations[muscles.bodies], muscles.points)
    ends = (ends - poses[0, :3]) @ rotations[0]
    out = []
    for a, b in ends:
        length = max(float(np.linalg.norm(b - a)), 1e-6)
        axis = np.eye(3)
        axis[:, 2] = (b - a) / length  # a capsule needs only this column of its rotation
        out.append(_Shape(0, (a + b) / 2, axis, _MUSCLE_RADIUS, length / 2, None, _MUSCLE))
    return out


def _world(shape: _Shape, poses: Array) -> tuple[Array, Array]:
    body = _matrix(poses[shape.body, 3:])
    return poses[shape.body, :3] + body @ shape.place, body @ shape.rotation


def _extent(shape: _Shape, poses: Array) -> Array:
    """Two points between which the shape lies."""
    place, rotation = _world(shape, poses)
    along = rotation[:, 2] * shape.half
    return np.stack([place + along + shape.radius, place - along - shape.radius])


def _matrix(quaternion: Array) -> Array:
    """Rotation matrix of a unit quaternion (x, y, z, w)."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _meet_capsule(eye: Array, rays: Array, arm: Array, radius: float) -> tuple[Array, Array]:
    """Distance (infinite for a miss) and outward normal where rays from `eye` hit a capsule from -arm to arm."""
    distance = np.full(rays.shape[:-1], np.inf)
    length = arm @ arm
    if length > 1e-12:  # the side: a cylinder around the axis
        across = rays - (rays @ arm)[..., None] * arm / length
        start = eye - (eye @ arm) * arm / length
        side = _nearest_root((across * across).sum(-1), across @ start, start @ start - radius**2)
        met = np.isfinite(side)
        share = (eye @ arm + np.where(met, side, 0.0) * (rays @ arm)) / length
        distance = np.where(met & (np.abs(share) <= 1.0), side, distance)
    for end in (arm, -arm) if length > 1e-12 else (arm,):
        start = eye - end
        distance = np.minimum(distance, _nearest_root(1.0, rays @ start, start @ start - radius**2))
    point = eye + np.where(np.isfinite(distance), distance, 0.0)[..., None] * rays
    share = np.clip((point @ arm) / max(length, 1e-12), -1.0, 1.0)
    return distance, (point - share[..., None] * arm) / radius


def _nearest_root(a: Array | float, half_b: Array, c: float) -> Array:
    """The smaller root of a t^2 + 2 half_b t + c, infinite if there is none or it is negative."""
    square = half_b**2 - a * c
    root = (-half_b - np.sqrt(np.maximum(square, 0.0))) / np.maximum(a, 1e-12)
    return np.where((square >= 0) & (root > 0), root, np.inf)


def _meet_box(eye: Array, rays: Array, rotation: Array, half: Array) -> tuple[Array, Array]:
    """The same for a box with these half sizes."""
    start, local = eye @ rotation, rays @ rotation
    local = np.where(np.abs(local) < 1e-9, 1e-9, local)
    near = (-np.sign(local) * half - start) / local
    far = (np.sign(local) * half - start) / local
    enter, leave = near.max(axis=-1), far.min(axis=-1)
    axis = near.argmax(axis=-1)
    hit = (enter < leave) & (enter > 0)
    sign = -np.sign(np.take_along_axis(local, axis[..., None], axis=-1))
    return np.where(hit, enter, np.inf), np.eye(3)[axis] * sign @ rotation.T
