"""Rewards, ends and starts of the tasks, by hand."""

import math

import pytest
import torch

from pwm.tasks.locomotion.catalogue import find_task
from pwm.tasks.locomotion.task import height_term


def test_height_term():
    heights = torch.tensor([-3.0, -0.5, 0.0, 0.2, 2.0])
    torch.testing.assert_close(height_term(heights, 0.3, 10.0), torch.tensor([-200.0, -50.0, 0.0, 2.0, 3.0]))


def test_hopper():
    task = find_task("hopper")[0]
    observation = torch.zeros(3, 11)
    observation[:, 0] = torch.tensor([0.0, -0.4, -0.46])
    observation[:, 1] = torch.tensor([0.0, math.pi / 6, 0.0])
    observation[:, 5] = torch.tensor([2.0, 0.0, 0.0])
    action = torch.tensor([[0.0, 0, 0], [1.0, 1, 0], [0.0, 0, 0]])
    expected = torch.tensor([2 + 0.3 + 1, 0 - 200 * 0.1**2 + 0 - 0.2, -200 * 0.16**2 + 1])
    torch.testing.assert_close(task.reward(observation, action), expected)
    assert task.terminated(observation).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("name", "lowest", "at", "tall", "cost"),
    [
        ("ant", 0.27, 0.6, 0.33, 0.0),
        ("anymal", 0.25, 0.6, 0.35, 0.005),
        ("humanoid", 0.74, 1.3, 1.0, 0.002),
        ("humanoid", 0.74, 0.8, -200 * 0.04**2, 0.002),
        ("muscle-humanoid", 0.46, 0.9, 0.2, 0.001),
        ("muscle-humanoid", 0.46, 0.5, -200 * 0.01**2, 0.001),
    ],
)
def test_runners(name, lowest, at, tall, cost):
    task = find_task(name)[0]
    m, joints = task.action_dim, task.joints
    turn = 0.3  # about z: the heading turns, up does not
    q = torch.zeros(1, 7 + joints)
    q[0, 2], q[0, 5], q[0, 6] = at, math.sin(turn / 2), math.cos(turn / 2)
    qd = torch.zeros(1, 6 + joints)
    qd[0, 0], qd[0, 6] = 1.5, 4.0
    action = torch.full((1, m), 0.5)
    observation = task.observe(q, qd, action)
    assert observation.shape == (1, task.observation_dim)
    assert observation[0, 0] == pytest.approx(at) and observation[0, 11 + joints] == pytest.approx(0.4)
    if task.muscles:
        assert observation[0, -1] == pytest.approx(math.cos(turn))  # nothing follows the heading
    else:
        assert torch.equal(observation[0, -m:], action[0])
    expected = 1.5 + 0.1 + math.cos(turn) + tall - cost * m * 0.25
    assert task.reward(observation, action).item() == pytest.approx(expected, rel=1e-5)
    assert not task.terminated(observation)
    observation[0, 0] = lowest - 1e-3
    assert task.terminated(observation)


def test_a_runner_on_its_side():
    task = find_task("ant")[0]
    q = torch.zeros(1, 15)
    q[0, 3], q[0, 6] = math.sin(math.pi / 4), math.cos(math.pi / 4)  # a quarter turn about x
    observation = task.observe(q, torch.zeros(1, 14), torch.zeros(1, 8))
    assert observation[0, 27].item() == pytest.approx(0.0, abs=1e-6)
    assert observation[0, 28].item() == pytest.approx(1.0, abs=1e-6)


def test_double_pendulum():
    task = find_task("double-pendulum")[0]
    q, qd = torch.tensor([[0.0, 0.0], [math.pi / 2, 2 * math.pi + 0.1]]), torch.tensor([[0.0, 0.0], [3.0, 2.0]])
    observation = task.observe(q, qd, torch.zeros(2, 1))
    expected = torch.tensor([0.0, -((math.pi / 2) ** 2) - 0.01 - 0.4])
    torch.testing.assert_close(task.reward(observation, torch.zeros(2, 1)), expected)
    hanging = task.start(torch.full((1, 4), 0.5))[0]
    assert task.reward(task.observe(hanging, 0 * hanging, None), None).item() == pytest.approx(-(math.pi**2), rel=1e-5)
    assert not task.terminated(observation).any()
