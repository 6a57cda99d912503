"""Whole episodes by the mean action: the first episode of every row counts, and nothing after it."""

import torch

from pwm.acting.vector_episodes import play_episodes
from pwm.agents.perceptron_policy import KIND, BaselinePolicy
from pwm.tasks.locomotion.environment import Step as LocomotionStep
from pwm.tasks.vector import DifferentiableEnvironment, Step
from tests.agents.point_mass import PointMass


def test_the_first_episode_of_every_row():
    about = {"kind": KIND, "algorithm": "shac", "task": "point", "seed": 0, "hidden": [4], "activation": "elu"}
    about |= {"observation_dim": 2, "action_dim": 1, "layer_norm": True, "squash": "tanh"}
    policy = BaselinePolicy(about)
    for parameter in policy.net.parameters():
        parameter.zero_()  # never pushes: rows that start outwards fast enough leave the line, the others stay
    returns, lengths = play_episodes(policy, PointMass(32, seed=0, episode_length=40))
    state = PointMass(32, seed=0).reset()
    for row in range(32):
        x, v = state[row].tolist()
        total, steps = 0.0, 0
        while steps < 40 and abs(x) <= 2:
            x, steps = x + 0.1 * v, steps + 1
            total += 1 - x * x - 0.1 * v * v
        assert lengths[row] == steps
        torch.testing.assert_close(returns[row].item(), total, rtol=1e-4, atol=1e-4)
    assert 0 < (lengths < 40).sum() < 32


def test_protocols():
    assert isinstance(PointMass(1), DifferentiableEnvironment)
    assert LocomotionStep is Step
