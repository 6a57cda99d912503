"""The engine's step beside Newton's stock step, and its mass matrix beside MuJoCo's."""

import xml.etree.ElementTree as ElementTree
from importlib.resources import files

import mujoco
import numpy as np
import pytest
import torch

from pwm.tasks.locomotion.catalogue import find_task, task_names
from pwm.tasks.locomotion.engine import Engine
from pwm.tasks.locomotion.newton_kernels import newton
from pwm.tasks.locomotion.robot import load_robot

NAMES = task_names()


def contact_wrenches(robot, contact, pose, twist):
    """The paper's contact law, a row of arithmetic per point: [bodies, 6] (force, torque about the COM)."""
    out = np.zeros((len(pose), 6))
    for body, point, radius in zip(robot.contacts.body, robot.contacts.point, robot.contacts.radius):
        place, (x, y, z, w) = pose[body, :3], pose[body, 3:]
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, np.array([w, x, y, z], float))
        rotation = rotation.reshape(3, 3)
        lowest = place + rotation @ point - [0, 0, radius]
        if lowest[2] >= 0:
            continue
        depth = -lowest[2]
        arm = lowest - (place + rotation @ np.array(robot.builder.body_com[body]))
        velocity = twist[body, :3] + np.cross(twist[body, 3:], arm)
        slide = velocity * [1, 1, 0]
        speed = np.linalg.norm(slide)
        normal = depth * contact.stiffness - min(velocity[2], 0) * contact.damping * depth
        most = min(contact.friction_slope * speed, contact.friction * depth * contact.stiffness)
        force = -most * slide / max(speed, 1e-12) + [0, 0, normal]
        out[body] += np.concatenate([force, np.cross(arm, force)])
    return out


def stock_step(robot, physics, q, qd, force):
    """One environment step by Newton's own solver, with the contact wrenches above as external ones."""
    model = robot.builder.finalize()
    solver = newton.solvers.SolverFeatherstone(
        model, angular_damping=0.0, update_mass_matrix_interval=physics.mass_matrix_every
    )
    state, after, control = model.state(), model.state(), model.control()
    state.joint_q.assign(q)
    state.joint_qd.assign(qd)
    control.joint_f.assign(force)
    newton.eval_fk(model, state.joint_q, state.joint_qd, state)
    touched = 0.0
    for _ in range(physics.substeps):
        state.clear_forces()
        if physics.contact is not None:
            wrench = contact_wrenches(robot, physics.contact, state.body_q.numpy(), state.body_qd.numpy())
            touched = max(touched, np.abs(wrench).max())
            state.body_f.assign(wrench.astype(np.float32))
        solver.step(state, after, control, None, physics.step_seconds / physics.substeps)
        state, after = after, state
    return state.joint_q.numpy(), state.joint_qd.numpy(), touched


def scene(name, preset="exact", sunk=0.0):
    """(robot, physics, q, qd, control) of one world in its starting pose, moving; lowered by `sunk` m."""
    task, physics = find_task(name, preset)
    robot = load_robot(name, physics.limit_stiffness)
    generator = torch.Generator().manual_seed(3)
    q, qd = task.start(torch.rand(1, task.draws, generator=generator))
    qd = qd + 0.5 * torch.randn(qd.shape, generator=generator)
    if robot.muscles is not None:
        return robot, physics, q, qd, torch.rand(1, task.action_dim, generator=generator)
    force = torch.zeros_like(qd)
    force[:, robot.dof] = 0.3 * torch.tensor(robot.gear) * torch.randn(1, len(robot.gear), generator=generator)
    if sunk:
        q[:, 1 if name == "hopper" else 2] -= sunk
    return robot, physics, q, qd, force


@pytest.mark.parametrize("preset", ["exact", "paper"])
@pytest.mark.parametrize(("name", "sunk"), [("hopper", 0.05), ("ant", 0.4), ("anymal", 0.1), ("humanoid", 0.1)])
def test_step_equals_the_stock_step(name, sunk, preset):
    robot, physics, q, qd, force = scene(name, preset, sunk)
    ours = Engine(robot, 1, physics).step(q, qd, force)
    stock_q, stock_qd, touched = stock_step(robot, physics, *(x[0].numpy() for x in (q, qd, force)))
    assert touched > 100.0  # N: the ground was felt
    assert not ours[2]
    np.testing.assert_allclose(ours[0][0], stock_q, atol=1e-5)
    np.testing.assert_allclose(ours[1][0], stock_qd, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_mass_matrix_equals_mujoco(name):
    robot, physics, q, qd, force = scene(name)
    engine = Engine(robot, 1, physics)
    q = q + 0.3 * torch.randn(q.shape, generator=torch.Generator().manual_seed(5))
    if engine.q_size > engine.qd_size:
        q[:, 3:7] = torch.nn.functional.normalize(q[:, 3:7], dim=1)
    engine.step(q, qd, force)
    ours = engine._parts[0]._dynamics.matrices[0].matrix.numpy().reshape(engine.qd_size, engine.qd_size)
    text = files("pwm.tasks.locomotion").joinpath("assets", f"{name}.xml").read_text()
    model = mujoco.MjModel.from_xml_string(text)
    model.dof_armature[:] = 0.0
    data = mujoco.MjData(model)
    data.qpos[:] = q[0].numpy()
    if engine.q_size > engine.qd_size:
        data.qpos[3:7] = q[0, [6, 3, 4, 5]].numpy()
    mujoco.mj_forward(model, data)
    expected = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, expected, data.qM)
    base = 6 if engine.q_size > engine.qd_size else 0
    # Newton and MuJoCo describe a free body's velocity differently; the joints' own block does not depend on that.
    np.testing.assert_allclose(ours[base:, base:], expected[base:, base:], rtol=2e-4, atol=1e-4)
    if base:
        np.testing.assert_allclose(ours[:3, :3], np.eye(3) * model.body_mass.sum(), rtol=1e-4, atol=1e-3)
    assert ours.shape == expected.shape


def mass_by_volume(text):
    """kg of a file's capsules and spheres at 1000 kg/m3."""
    tree = ElementTree.fromstring(text)
    usual = tree.find("default/geom").get("size")
    total = 0.0
    for geom in tree.find("worldbody").iter("geom"):
        ends = np.array((geom.get("fromto") or "0 0 0 0 0 0").split(), float)
        radius = float(geom.get("size") or usual)
        total += 1000 * np.pi * radius**2 * (np.linalg.norm(ends[3:] - ends[:3]) + 4 / 3 * radius)
    return total


# kg: the ant's is that of the paper's simulator, ANYmal's its makers'.
@pytest.mark.parametrize(
    ("name", "mass"), [("ant", 182.176), ("anymal", 52.135), ("hopper", 15.820), ("humanoid", 40.844)]
)
def test_total_mass(name, mass):
    text = files("pwm.tasks.locomotion").joinpath("assets", f"{name}.xml").read_text()
    total = sum(scene(name)[0].builder.body_mass)
    assert total == pytest.approx(mass, rel=1e-4)
    if name != "anymal":
        assert total == pytest.approx(mass_by_volume(text), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_limits_have_a_spring_and_nothing_that_jumps(name):
    builder = scene(name)[0].builder
    assert not np.any(builder.joint_limit_kd)
    limited = np.array(builder.joint_limit_upper) < 1e6
    np.testing.assert_array_equal(np.array(builder.joint_limit_ke), np.where(limited, 1e3, 0.0))


def test_inertia_of_anymal_is_the_makers_figure():
    builder = scene("anymal")[0].builder
    for label, mass, inertia in zip(builder.body_label, builder.body_mass, builder.body_inertia):
        if "THIGH" in label.rsplit("/", 1)[-1]:
            assert mass == pytest.approx(3.071)
            np.testing.assert_allclose(np.diag(np.array(inertia).reshape(3, 3)), [0.029564, 0.029904, 0.0048611])
