"""Pictures, by geometry: what is drawn is where a camera would see it."""

import numpy as np
import pytest
import torch

from pwm.tasks.locomotion.catalogue import task_names
from pwm.tasks.locomotion.environment import make_locomotion
from pwm.tasks.locomotion.newton_kernels import wp
from pwm.tasks.locomotion.renderer import _lines, _meet_box, _meet_capsule, _world


def test_rays_meet_a_capsule():
    eye = np.array([0.0, -10.0, 0.0])
    aims = np.array([[0, 0, 0], [0, 0, 1.9], [0, 0, 2.4], [0, 0, 2.6], [0.4, 0, 0], [0.6, 0, 0]], float)
    rays = (aims - eye) / np.linalg.norm(aims - eye, axis=1, keepdims=True)
    distance, normal = _meet_capsule(eye, rays, np.array([0.0, 0.0, 2.0]), 0.5)
    assert np.isfinite(distance).tolist() == [True, True, True, False, True, False]
    assert distance[0] == pytest.approx(9.5)
    np.testing.assert_allclose(normal[0], [0, -1, 0], atol=1e-9)
    point = eye + distance[2] * rays[2]
    assert np.linalg.norm(point - [0, 0, 2.0]) == pytest.approx(0.5)  # on the upper cap
    point = eye + distance[4] * rays[4]
    assert np.linalg.norm(point[:2]) == pytest.approx(0.5)  # on the side
    distance, _ = _meet_capsule(eye, -rays, np.array([0.0, 0.0, 2.0]), 0.5)
    assert not np.isfinite(distance).any()


def test_rays_meet_a_turned_box():
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1.0]])
    half, eye = np.array([0.4, 0.3, 0.2]), np.array([0.0, -5.0, 0.0])
    rays = np.array([[0, 1.0, 0], [0, 1.0, 0.1]])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    distance, normal = _meet_box(eye, rays, turn, half)
    local = (eye + distance[0] * rays[0]) @ turn
    assert np.max(np.abs(local) / half) == pytest.approx(1.0) and not np.isfinite(distance[1])
    np.testing.assert_allclose(normal[0], turn @ [0, -1, 0], atol=1e-9)


@pytest.mark.parametrize("name", task_names())
def test_the_robot_is_in_the_picture(name):
    env = make_locomotion(name, 2, seed=0)
    picture = env.render()
    assert picture.shape == (240, 320, 3) and picture.dtype == np.uint8
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    warm = red - blue > 40  # the first body's colour; ground and sky are grey and blue
    assert 200 < warm.sum() < 20000
    rows, columns = np.nonzero(warm)
    assert 100 < columns.mean() < 220 and rows.min() > 0 and rows.max() < 239
    np.testing.assert_array_equal(picture, make_locomotion(name, 1, seed=0).render())


def test_a_picture_follows_the_robot():
    env = make_locomotion("hopper", 1)
    before = env.render()
    with torch.no_grad():
        for _ in range(10):
            env.step(torch.ones(1, 3))
    assert np.abs(env.render().astype(int) - before).max() > 50


def test_muscles_are_lines_where_their_segments_are():
    """In another pose: the ends of every line are those of its segment, by Warp's own transforms."""
    env = make_locomotion("muscle-humanoid", 1, seed=3)
    poses, muscles = env._engine.first_poses(env._q), env._robot.muscles
    lines = _lines(muscles, poses)
    assert len(lines) == len(muscles.unit)
    for line, bodies, points in zip(lines, muscles.bodies, muscles.points):
        place, rotation = _world(line, poses)
        for body, point, sign in zip(bodies, points, (-1, 1)):
            expected = wp.transform_point(wp.transform(*poses[body].tolist()), wp.vec3(*point.tolist()))
            np.testing.assert_allclose(place + sign * line.half * rotation[:, 2], expected, atol=1e-5)
    red = (env.render()[..., 0] > 80) & (env.render()[..., 1] < 50)
    assert 50 < red.sum() < 5000
