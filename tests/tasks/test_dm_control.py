import os
import subprocess
import sys

import numpy as np
import pytest

from pwm.runtime.errors import PWMError
from pwm.tasks.dm_control import import_suite, make_dm_control
from pwm.tasks.registry import get_task, task_set

SUITE_NAMES = {"cup-catch": ("ball_in_cup", "catch"), "finger-turn-hard": ("finger", "turn_hard")}

# Sizes from the published description of the multi-task set: id -> (observation, action).
SIZES = {
    "walker-stand": (24, 6),
    "walker-walk": (24, 6),
    "walker-run": (24, 6),
    "cheetah-run": (17, 6),
    "reacher-easy": (6, 2),
    "reacher-hard": (6, 2),
    "acrobot-swingup": (6, 1),
    "pendulum-swingup": (3, 1),
    "cartpole-balance": (5, 1),
    "cartpole-balance-sparse": (5, 1),
    "cartpole-swingup": (5, 1),
    "cartpole-swingup-sparse": (5, 1),
    "cup-catch": (8, 2),
    "finger-spin": (9, 2),
    "finger-turn-easy": (12, 2),
    "finger-turn-hard": (12, 2),
    "fish-swim": (24, 5),
    "hopper-stand": (15, 4),
    "hopper-hop": (15, 4),
    "walker-walk-backwards": (24, 6),
    "walker-run-backwards": (24, 6),
    "cheetah-run-backwards": (17, 6),
    "cheetah-run-front": (17, 6),
    "cheetah-run-back": (17, 6),
    "cheetah-jump": (17, 6),
    "hopper-hop-backwards": (15, 4),
    "reacher-three-easy": (8, 3),
    "reacher-three-hard": (8, 3),
    "cup-spin": (8, 2),
    "pendulum-spin": (3, 1),
}
TASKS = task_set("mt30")


def actions_for(spec, steps, seed=0):
    draws = np.random.default_rng(seed).uniform(-1, 1, (steps, spec.action_dim))
    return draws.astype(np.float32)


def episode(env, seed, actions):
    """Observations [T+1, O] and rewards [T] of an episode begun with `seed`."""
    observations, rewards = [env.reset(seed=seed)[0]], []
    for action in actions:
        observation, reward, *_ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


def suite_episode(domain, task, seed, actions):
    """The same, by the suite alone: a new environment with that random seed, rewards of two control steps summed."""
    environment = import_suite().load(domain, task, task_kwargs={"random": seed})
    observations, rewards = [environment.reset().observation], []
    for action in actions:
        first, second = environment.step(action), environment.step(action)
        observations.append(second.observation)
        rewards.append(first.reward + second.reward)
    flat = [np.concatenate([np.atleast_1d(part) for part in parts.values()]) for parts in observations]
    return np.array(flat, dtype=np.float32), np.array(rewards)


def test_the_list_is_complete_and_in_order():
    assert [(spec.id, (spec.observation_dim, spec.action_dim)) for spec in TASKS] == list(SIZES.items())
    assert all((spec.episode_length, spec.action_repeat, spec.score) == (500, 2, "return") for spec in TASKS)


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.id)
def test_every_task_runs_a_whole_episode(spec):
    env = spec.make()
    assert env.observation_space.shape == (spec.observation_dim,) and env.observation_space.dtype == np.float32
    assert env.action_space.shape == (spec.action_dim,) and env.action_space.dtype == np.float32
    assert (env.action_space.low == -1).all() and (env.action_space.high == 1).all()
    observation, info = env.reset(seed=3)
    assert observation in env.observation_space and info == {}
    for step, action in enumerate(actions_for(spec, 500), start=1):
        observation, reward, terminated, truncated, _ = env.step(action)
        assert observation in env.observation_space and np.isfinite(observation).all()
        assert isinstance(reward, float) and 0.0 <= reward <= 2.0
        assert terminated is False and truncated is (step == 500)
    with pytest.raises(PWMError, match="reset"):
        env.step(action)
    env.close()


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.id)
def test_the_seed_alone_makes_the_episode(spec):
    actions = actions_for(spec, 20)
    env = spec.make()
    first, first_rewards = episode(env, 7, actions)
    other, _ = episode(env, 8, actions)
    env.reset()  # an unseeded episode in between
    again, again_rewards = episode(env, 7, actions)
    assert first.tobytes() == again.tobytes() and first_rewards.tobytes() == again_rewards.tobytes()
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("id", ["walker-walk", "reacher-hard", "fish-swim", *SUITE_NAMES])
def test_an_episode_is_the_suites_own(id):
    """Also pins the order of the observation dict, the action repeat and the sum of rewards."""
    spec = get_task(id)
    actions = actions_for(spec, 30)
    env = spec.make()
    episode(env, 1, actions[:5])  # whatever came before must not matter
    observations, rewards = episode(env, 12, actions)
    suite_observations, suite_rewards = suite_episode(*SUITE_NAMES.get(id, id.split("-")), 12, actions)
    assert observations.tobytes() == suite_observations.tobytes()
    np.testing.assert_allclose(rewards, suite_rewards, rtol=0, atol=1e-12)


def test_500_agent_steps_are_the_suites_whole_episode():
    environment = import_suite().load("cartpole", "swingup")
    environment.reset()
    assert [environment.step([0.0]).last() for _ in range(1000)].index(True) == 999


def test_observation_layout():
    env = get_task("fish-swim").make()
    observation, _ = env.reset(seed=0)
    parts = env._environment.task.get_observation(env._environment.physics)
    assert list(parts) == ["joint_angles", "upright", "target", "velocity"]
    assert observation[7] == np.float32(parts["upright"])
    np.testing.assert_array_equal(observation[8:11], parts["target"].astype(np.float32))


def test_actions_out_of_range_count_as_the_bound():
    spec = get_task("cartpole-swingup")
    env = spec.make()
    bounded, bounded_rewards = episode(env, 0, np.ones((5, 1)))
    beyond, beyond_rewards = episode(env, 0, 9 * np.ones((5, 1)))
    assert env._environment.physics.control() == 1.0
    assert bounded.tobytes() == beyond.tobytes() and bounded_rewards.tobytes() == beyond_rewards.tobytes()


@pytest.mark.parametrize("action", [[np.nan, 0.0], [0.0], [0.0, 0.0, 0.0], [np.inf, 0.0]])
def test_a_bad_action_is_refused(action):
    env = get_task("reacher-easy").make()
    env.reset(seed=0)
    with pytest.raises(PWMError, match="action"):
        env.step(np.array(action))


def test_other_bad_input_is_refused():
    with pytest.raises(PWMError, match="no task cartpole/fly"):
        make_dm_control("cartpole", "fly")
    with pytest.raises(PWMError, match="render_mode"):
        make_dm_control("cartpole", "swingup", render_mode="human")
    env = make_dm_control("cartpole", "swingup")
    with pytest.raises(PWMError, match="reset"):
        env.step(np.zeros(1))
    with pytest.raises(PWMError, match="seed"):
        env.reset(seed=2**32)
    assert env.render() is None


LAZY_AND_QUIET = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from pwm.tasks.registry import get_task, list_tasks
list_tasks()
assert "dm_control" not in sys.modules and "mujoco" not in sys.modules
env = get_task("cartpole-swingup").make()
env.reset(seed=0)
print(env.step([0.5])[1] >= 0)
"""


def test_the_suite_is_imported_late_quietly_and_without_opengl():
    hidden = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    # Without a vendor library EGL finds no display.
    environment["__EGL_VENDOR_LIBRARY_DIRS"] = os.devnull
    child = subprocess.run(
        [sys.executable, "-c", LAZY_AND_QUIET], env=environment, capture_output=True, text=True, timeout=100
    )
    assert (child.returncode, child.stdout.strip(), child.stderr) == (0, "True", "")


def test_returns_of_the_suite_count_in_thousands():
    assert all(spec.return_range == (0.0, 1000.0) for spec in TASKS)
