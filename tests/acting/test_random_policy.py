import numpy as np
import pytest

from pwm.acting.random_policy import random_policy
from pwm.acting.rollout import run_episodes
from pwm.tasks.registry import get_task
from tests.toys import toy_task


def run_random_policy(specs, seeds):
    return run_episodes(specs, random_policy(specs, seeds), seeds)


def test_actions_are_uniform_and_change_every_step():
    specs = [toy_task("a", action_dim=2, length=400), toy_task("b", action_dim=5, length=300)]
    policy = random_policy(specs, [[0, 1], [0, 1]])
    actions = np.array([policy(np.zeros((2, 2, 3))) for _ in range(400)])
    assert actions.shape == (400, 2, 2, 5) and (actions[:, 0, :, 2:] == 0).all()
    used = actions[:300, 1].reshape(-1)
    assert np.abs(used).max() <= 1
    # Standard error of the mean of 3000 draws is 0.011, of their variance (1/3) about 0.006.
    assert abs(used.mean()) < 0.04 and abs(used.var() - 1 / 3) < 0.02
    assert len(np.unique(used)) > 2990


def test_an_episode_depends_on_its_seed_alone():
    specs = [toy_task("a"), toy_task("b", observation_dim=5, action_dim=4, length=9)]
    together = run_random_policy(specs, [[1, 2, 3], [4, 5, 6]])
    alone = run_random_policy(specs[1:], [[5, 6]])
    assert together.returns[1, 1:].tobytes() == alone.returns[0].tobytes()
    assert len(np.unique(together.returns)) == 6


def test_the_known_level_of_random_actions():
    episodes = run_random_policy([get_task("cartpole-balance"), get_task("cartpole-swingup-sparse")], [[0, 1]] * 2)
    assert (episodes.lengths == 500).all()
    # Random actions keep the pole up a third of the time, and never swing it up.
    assert 200 < episodes.returns[0].mean() < 500
    assert episodes.returns[1].mean() == pytest.approx(0)
