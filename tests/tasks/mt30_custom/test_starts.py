"""How episodes of the custom tasks begin, and the models they run on."""

import numpy as np
import pytest
from scipy.stats import kstest

from pwm.tasks.dm_control import import_suite
from pwm.tasks.registry import get_task

STOCK = {
    "walker-walk-backwards": ("walker", "walk"),
    "walker-run-backwards": ("walker", "run"),
    "cheetah-run-backwards": ("cheetah", "run"),
    "cheetah-run-front": ("cheetah", "run"),
    "cheetah-run-back": ("cheetah", "run"),
    "cheetah-jump": ("cheetah", "run"),
    "hopper-hop-backwards": ("hopper", "hop"),
    "pendulum-spin": ("pendulum", "swingup"),
}


def starts(task, episodes):
    """The environment, positions and velocities [episodes, joints] at the start of episodes 0, 1, ..."""
    env = get_task(task).make()
    physics, rows = env._environment.physics, []
    for seed in range(episodes):
        env.reset(seed=seed)
        rows.append(np.concatenate([physics.data.qpos, physics.data.qvel]))
    qpos, qvel = np.split(np.array(rows), [physics.model.nq], axis=1)
    return env, qpos, qvel


def assert_uniform(values, low, high):
    assert values.min() >= low and values.max() <= high
    assert kstest((values - low) / (high - low), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("task", STOCK)
def test_model_observation_and_start_are_the_suites(task):
    """Same seed, same actions: one sees what the suite's own task of that model shows; only the reward differs."""
    env = get_task(task).make()
    reference = import_suite().load(*STOCK[task], task_kwargs={"random": 9})
    assert env._environment.control_timestep() == reference.control_timestep()
    actions = np.random.default_rng(0).uniform(-1, 1, (20, *env.action_space.shape))
    observation, time_step = env.reset(seed=9)[0], reference.reset()
    for action in actions:
        expected = np.concatenate([np.ravel(part) for part in time_step.observation.values()])
        np.testing.assert_array_equal(observation, expected.astype(np.float32))
        observation = env.step(action)[0]
        reference.step(action)
        time_step = reference.step(action)


@pytest.mark.parametrize(
    "task", ["walker-run-backwards", "hopper-hop-backwards", "reacher-three-hard", "pendulum-spin"]
)
def test_joints_start_uniform_and_at_rest(task):
    env, qpos, qvel = starts(task, 150)
    model = env._environment.physics.model
    assert not qvel.any()
    hinges = 0
    for joint in range(model.njnt):
        if model.jnt_limited[joint]:
            assert_uniform(qpos[:, joint], *model.jnt_range[joint])
        elif model.jnt_type[joint] == 3:  # mjJNT_HINGE
            assert_uniform(qpos[:, joint], -np.pi, np.pi)
            hinges += 1
        else:
            assert not qpos[:, joint].any()
    assert hinges == 1


def test_cheetahs_have_settled_for_200_steps():
    """Uniform joints from the seed, then 200 of MuJoCo's own steps without control, and the clock at zero."""
    import mujoco

    env = get_task("cheetah-jump").make()
    physics = env._environment.physics
    model = physics.model.ptr
    limited = model.jnt_limited == 1
    for seed in range(3):
        env.reset(seed=seed)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        data.qpos[limited] = np.random.RandomState(seed).uniform(*model.jnt_range[limited].T)
        mujoco.mj_step2(model, data)  # the suite's first step integrates the forces of the state before
        mujoco.mj_step(model, data, nstep=199)
        np.testing.assert_allclose(physics.data.qpos, data.qpos, atol=1e-9)
        np.testing.assert_allclose(physics.data.qvel, data.qvel, atol=1e-9)
        assert physics.time() == 0.0


def test_cup_spin_starts_in_the_cup_nine_times_of_ten():
    env = get_task("cup-spin").make()
    physics, anywhere, inside = env._environment.physics, [], []
    for seed in range(400):
        env.reset(seed=seed)
        x, z = (float(physics.named.data.qpos[joint][0]) for joint in ("ball_x", "ball_z"))
        assert abs(x) <= 0.2 and 0.2 <= z <= 0.5
        assert physics.data.ncon == 0 and not physics.data.qvel.any()
        anywhere.append(np.random.RandomState(seed).uniform() < 0.1)
        inside.append(abs(x) < 0.025 and abs(0.55 - 0.2 - z) < 0.025)
    anywhere, inside = np.array(anywhere), np.array(inside)
    assert 0.06 < anywhere.mean() < 0.14
    assert inside[~anywhere].all() and inside[anywhere].mean() < 0.2


def test_the_three_link_reacher():
    env, _, _ = starts("reacher-three-easy", 1)
    model = env._environment.physics.named.model
    joints = ["shoulder0", "shoulder1", "wrist"]
    assert env._environment.physics.model.opt.timestep == env._environment.control_timestep() == 0.02
    assert env._environment.physics.model.opt.disableflags & 16  # mjDSBL_CONTACT
    assert model.jnt_limited[joints].tolist() == [0, 1, 1]
    np.testing.assert_allclose(model.jnt_range[joints[1:]], np.deg2rad([[-80, 80]] * 2))
    np.testing.assert_allclose(model.dof_damping[joints], 0.01)
    np.testing.assert_array_equal(model.jnt_axis[joints], [[0, 0, 1]] * 3)
    np.testing.assert_allclose(model.actuator_gear[joints, 0], 0.05)
    assert list(model.actuator_gear.axes.row.names) == joints
    np.testing.assert_allclose(model.body_pos[["arm0", "arm1", "hand", "finger"], "x"], [0, 0.09, 0.09, 0.09])
    assert model.body_pos["arm0", "z"] == 0.01
    # Capsules have a radius and half a length.
    links = model.geom_size[["arm0", "arm1", "hand"], :2]
    np.testing.assert_allclose(links, [[0.01, 0.045], [0.01, 0.045], [0.01, 0.05]])
    assert model.geom_size["finger", 0] == 0.01
    arena = {"ground", "wall_x", "wall_y", "wall_neg_x", "wall_neg_y", "root", "target"}
    assert set(model.geom_size.axes.row.names) == arena | {"arm0", "arm1", "hand", "finger"}


def test_the_reachers_target_starts_where_the_suite_puts_it():
    env = get_task("reacher-three-easy").make()
    positions = []
    for seed in range(200):
        env.reset(seed=seed)
        positions.append(env._environment.physics.named.model.geom_pos["target", :2].copy())
    x, y = np.array(positions).T
    assert_uniform(np.hypot(x, y), 0.05, 0.20)
    assert_uniform(np.arctan2(x, y), -np.pi, np.pi)


# Mean return of uniform actions, one per control step, measured elsewhere over three episodes; and how far the median
# of five may be off.
RANDOM_RETURNS = {
    "walker-walk-backwards": (28.5, 18),
    "walker-run-backwards": (20.4, 7),
    "cheetah-run-backwards": (25.4, 3),
    "cheetah-run-front": (6.5, 0.4),
    "cheetah-run-back": (6.3, 0.4),
    "cheetah-jump": (175, 5),
    "hopper-hop-backwards": (0, 1),
    "reacher-three-easy": (0, 0.01),
    "reacher-three-hard": (0, 0.01),
    "cup-spin": (7, 3),
    "pendulum-spin": (105, 70),
}


@pytest.mark.parametrize("task", RANDOM_RETURNS)
def test_random_actions_earn_about_what_they_earn_elsewhere(task):
    env = get_task(task).make()
    returns = []
    for seed in range(5):
        env.reset(seed=seed)
        actions = np.random.default_rng(seed).uniform(-1, 1, (1000, *env.action_space.shape))
        returns.append(sum(env._environment.step(action).reward for action in actions))
    expected, tolerance = RANDOM_RETURNS[task]
    assert np.median(returns) == pytest.approx(expected, abs=tolerance)
