"""The muscle-driven humanoid made of files in MASS's layout: a small figure that the tests write themselves."""

from __future__ import annotations

from xml.etree import ElementTree

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.tasks import registry
from pwm.tasks.locomotion.environment import make_locomotion
from pwm.tasks.locomotion.family import mass_humanoid
from pwm.tasks.locomotion.gradient_check import relative_errors, slopes_and_differences
from pwm.tasks.locomotion.gymnasium_views import LocomotionTaskEnv, LocomotionVectorEnv
from pwm.tasks.locomotion.mass_files import read_mass
from pwm.tasks.vector import is_differentiable, make_environment
from tests.tasks.locomotion.mass_figure import write_figure


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_figure(tmp_path_factory.mktemp("mass"))


def make(files, rows=3, **settings):
    return make_locomotion("muscle-humanoid", rows, mass_files=files, **settings)


def test_sizes_are_those_of_the_files(files):
    env = make(files)
    assert (env.observation_dim, env.action_dim, env.episode_length) == (13 + 2 * 18, 20, 1000)
    assert env.physics.contact.stiffness == 5e3 and env.physics.substeps == 48
    step = env.step(torch.zeros(3, 20))
    assert step.obs.shape == step.final_obs.shape == (3, 49) and torch.isfinite(step.reward).all()


def test_it_starts_on_its_feet_within_its_joints_limits(files):
    """Against MuJoCo's kinematics of the same model: the lowest corner of any box is 2 cm above the ground."""
    env = make(files, 64, stochastic_reset=False)
    q = env.get_state()["q"]
    model = mujoco.MjModel.from_xml_string(read_mass(*files).mjcf)
    data = mujoco.MjData(model)
    data.qpos[:] = np.concatenate([q[0, :3], [1.0, 0, 0, 0], q[0, 7:]])
    mujoco.mj_forward(model, data)
    signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, 8).T
    corners = [
        data.geom_xpos[i] + (signs * model.geom_size[i]) @ data.geom_xmat[i].reshape(3, 3).T for i in range(model.ngeom)
    ]
    assert np.concatenate(corners)[:, 2].min() == pytest.approx(0.02, abs=1e-5)
    scattered = make(files, 256).get_state()["q"][:, 7:]
    low, high = torch.tensor(model.jnt_range[1:].T, dtype=torch.float32)
    assert (scattered >= low - 1e-6).all() and (scattered <= high + 1e-6).all()
    assert ((scattered.amax(0) - scattered.amin(0)) > 0.35).all()


def test_reward_and_end_are_the_paper_s(files):
    env = make(files)
    action = torch.full((3, 20), 0.5)
    step = env.step(action)
    obs = step.final_obs
    height, up, heading = obs[:, 0], obs[:, 47], obs[:, 48]
    tall = 4.0 * (height - 0.51).clamp(max=0.05)
    expected = obs[:, 5] + 0.1 * up + heading + tall - 0.001 * 20 * 0.25
    torch.testing.assert_close(step.reward, expected)
    x, y, z, w = obs[:, 1:5].unbind(1)
    torch.testing.assert_close(heading, 1 - 2 * (y * y + z * z))
    torch.testing.assert_close(up, 1 - 2 * (x * x + y * y))


def test_slack_legs_fall_and_start_anew(files):
    env = make(files, 4)
    with torch.no_grad():
        steps = [env.step(torch.full((4, 20), -1.0)) for _ in range(120)]
    fallen = [step for step in steps if step.terminated.any()]
    assert torch.stack([step.terminated for step in steps]).any(dim=0).all() and env.bad_rows == 0
    for step in fallen:
        assert (step.final_obs[step.terminated, 0] < 0.46).all() and (step.obs[step.terminated, 0] > 0.9).all()


def test_a_muscle_bends_the_joint_that_it_crosses(files):
    """The biceps, on the back of the left thigh, bends the left knee and no other."""
    made = read_mass(*files)
    env = make(files, 2, stochastic_reset=False)
    actions = torch.full((2, 20), -1.0)
    actions[1, [unit.name for unit in made.units].index("L_Biceps")] = 1.0
    with torch.no_grad():
        obs = env.step(actions).obs
    names = [joint.get("name") for joint in ElementTree.fromstring(made.mjcf).findall(".//joint")]
    bent = obs[1, 11:29] - obs[0, 11:29]
    assert bent[names.index("TibiaL")] > 0.01 and bent[names.index("TibiaR")].abs() < 0.001


@pytest.mark.parametrize(("steps", "most"), [(1, 0.02), (8, 0.05)])
def test_gradients_of_the_return_are_finite_differences(files, steps, most):
    ours, expected = slopes_and_differences("muscle-humanoid", steps, 3, 1e-2, mass_files=files)
    assert expected.norm(dim=1).min() > 1e-3 and relative_errors(ours, expected).max() < most


def test_the_gymnasium_views(files):
    one = LocomotionTaskEnv("muscle-humanoid", "rgb_array", mass_files=files)
    first = one.reset(seed=3)[0]
    assert one.observation_space.shape == (49,) and one.action_space.shape == (20,)
    many = LocomotionVectorEnv("muscle-humanoid", 2, mass_files=files)
    np.testing.assert_array_equal(many.reset(seed=3)[0][0], first)
    assert many.step(np.zeros((2, 20), np.float32))[0].shape == (2, 49)
    assert one.render().shape == (240, 320, 3) and one.render().std() > 10


def test_a_registered_task_trains_and_plays(files, monkeypatch):
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    spec = registry.register_task(mass_humanoid(*files))
    assert spec.id == "mass-humanoid" and is_differentiable("mass-humanoid")
    with spec.make() as env:
        assert isinstance(env, gymnasium.Env) and env.observation_space.shape == (spec.observation_dim,)
        assert env.action_space.shape == (spec.action_dim,) and env._env.episode_length == spec.episode_length
    env = make_environment("mass-humanoid", 2, 0)
    actions = torch.zeros(2, spec.action_dim, requires_grad=True)
    env.step(actions).reward.sum().backward()
    assert (actions.grad != 0).any() and torch.isfinite(actions.grad).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"FootPinkyL"', '"FootLittleL"', "human.xml: has no node FootPinkyL; it has Pelvis, Spine, FemurR"),
        ('type="Free"', 'type="Weld"', "Pelvis: the body without a parent, and no other, needs a Joint of type Free"),
        ('parent="TalusL"', 'parent="None"', "FootThumbL has no parent, like Pelvis"),
    ],
)
def test_skeletons_that_lack_something_are_refused(tmp_path, old, new, message):
    files = write_figure(tmp_path)
    text = files[0].read_text()
    assert old in text
    files[0].write_text(text.replace(old, new))
    with pytest.raises(PWMError, match=message):
        make(files)
    with pytest.raises(PWMError, match=message):
        mass_humanoid(*files)


def test_files_in_another_unit_and_other_tasks_are_refused(tmp_path, files):
    for scale, height in [(0.3, r"0\.31"), (100.0, r"9\d\.\d\d")]:
        with pytest.raises(PWMError, match=rf"stands at {height} m; it must be at 0.46 to 2.0 m, in metres"):
            make(write_figure(tmp_path, scale))
    with pytest.raises(PWMError, match="mass_files are for the task muscle-humanoid, not for ant"):
        make_locomotion("ant", 2, mass_files=files)
    with pytest.raises(PWMError, match="none.xml: cannot be read"):
        make((files[0], "none.xml"))
