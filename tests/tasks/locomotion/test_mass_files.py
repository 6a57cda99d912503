"""Files of MASS: a small skeleton written in its layout, read back and looked at through MuJoCo."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.engine import Engine
from pwm.tasks.locomotion.mass_files import read_mass
from pwm.tasks.locomotion.muscles import segments
from pwm.tasks.locomotion.robot import build_robot
from pwm.tasks.locomotion.settings import Physics

EYE = "1 0 0 0 1 0 0 0 1"
# A box of the femur turned by 30 degrees about the figure's x axis (its left): columns are the box's axes.
TURNED = "1 0 0  0 0.8660254 -0.5  0 0.5 0.8660254"
SKELETON = f"""<Skeleton name="Human">
  <Node name="Pelvis" parent="None">
    <Body type="Box" mass="15.0" size="0.2 0.15 0.13" contact="Off" color="0.6 0.6 1.5 1.0" obj="Pelvis.obj">
      <Transformation linear="{EYE}" translation="0.0 0.98 -0.03"/></Body>
    <Joint type="Free"><Transformation linear="{EYE}" translation="0.0 0.98 -0.03"/></Joint>
  </Node>
  <Node name="FemurL" parent="Pelvis">
    <Body type="Box" mass="7.0" size="0.13 0.4 0.12">
      <Transformation linear="{TURNED}" translation="0.1 0.74 -0.02"/></Body>
    <Joint type="Ball" lower="-1.0 -0.3 -0.5" upper="2.0 0.4 0.6">
      <Transformation linear="{EYE}" translation="0.09 0.93 -0.03"/></Joint>
  </Node>
  <Node name="TibiaL" parent="FemurL">
    <Body type="Box" mass="3.0" size="0.1 0.4 0.1"><Transformation linear="{EYE}" translation="0.1 0.3 -0.03"/></Body>
    <Joint type="Revolute" axis="1.0 0.0 0.0" lower="0.0" upper="2.3">
      <Transformation linear="{EYE}" translation="0.1 0.52 -0.02"/></Joint>
  </Node>
  <Node name="Spine" parent="Pelvis">
    <Body type="Box" mass="5.0" size="0.1 0.1 0.1"><Transformation linear="{EYE}" translation="0 1.1 -0.03"/></Body>
    <Joint type="Ball" lower="-1 -1 -1" upper="1 1 1">
      <Transformation linear="{EYE}" translation="0 1.05 -0.03"/></Joint>
  </Node>
</Skeleton>"""
MUSCLES = """<Muscle>
  <Unit name="L_Rectus" f0="850.0" lm="1.0" lt="0.2" pen_angle="0.0" lmax="-0.1">
    <Waypoint body="Pelvis" p="0.1 0.96 0.01"/><Waypoint body="FemurL" p="0.1 0.55 0.03"/>
    <Waypoint body="TibiaL" p="0.1 0.47 0.02"/>
  </Unit>
  <Unit name="L_Psoas" f0="400.0" lm="1.0" lt="0.2" pen_angle="0.0" lmax="-0.1">
    <Waypoint body="Spine" p="0.03 1.1 -0.03"/><Waypoint body="FemurL" p="0.1 0.87 -0.04"/>
  </Unit>
</Muscle>"""
KNEE = '<Transformation linear="0 0 1 0 1 0 -1 0 0" translation="0.1 0.52 -0.02"/>'
BODIES = ("Pelvis", "FemurL", "TibiaL")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "human.xml").write_text(SKELETON)
    (tmp_path / "muscles.xml").write_text(MUSCLES)
    return tmp_path / "human.xml", tmp_path / "muscles.xml"


def test_the_skeleton_stands_as_it_did(files):
    made = read_mass(*files, bodies=BODIES)
    model = mujoco.MjModel.from_xml_string(made.mjcf)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert [model.body(i).name for i in range(1, model.nbody)] == list(BODIES)
    np.testing.assert_allclose(data.body("FemurL").xpos, [-0.03, 0.09, 0.93], atol=1e-9)
    np.testing.assert_allclose(data.body("FemurL").xipos, [-0.02, 0.1, 0.74], atol=1e-9)
    assert model.body_mass[1:].tolist() == pytest.approx([15.0, 7.0, 3.0])
    # The box's own axes, seen from here: its y axis (0, cos 30, sin 30) there is (sin 30, 0, cos 30) here.
    np.testing.assert_allclose(data.geom_xmat[1].reshape(3, 3)[:, 1], [0.5, 0.0, np.sqrt(0.75)], atol=1e-6)
    np.testing.assert_allclose(model.geom_size[1], [0.065, 0.2, 0.06])
    assert all(np.allclose(made.origins[body], data.body(body).xpos) for body in BODIES)


def test_joints_keep_their_axes_and_limits(files):
    model = mujoco.MjModel.from_xml_string(read_mass(*files, bodies=BODIES).mjcf)
    assert model.nv == 6 + 3 + 1
    np.testing.assert_allclose(model.joint("TibiaL").axis, [0, 1, 0])
    np.testing.assert_allclose(model.joint("TibiaL").range, [0, 2.3])
    np.testing.assert_allclose(model.joint("FemurL_y").range, [-1.0, 2.0])  # its x axis, the figure's left
    np.testing.assert_allclose(model.joint("FemurL_x").range, [-0.5, 0.6])


def test_a_joint_s_own_axes_count(files):
    """A knee whose frame is turned by 90 degrees about the vertical, so that its x axis points back."""
    turned = SKELETON.replace(f'<Transformation linear="{EYE}" translation="0.1 0.52 -0.02"/>', KNEE)
    assert turned != SKELETON
    files[0].write_text(turned)
    model = mujoco.MjModel.from_xml_string(read_mass(*files, bodies=BODIES).mjcf)
    np.testing.assert_allclose(model.joint("TibiaL").axis, [-1, 0, 0], atol=1e-9)


def test_a_ball_joint_bends_first_and_turns_last(files):
    """Flexion, abduction, rotation: three hinges lock where the middle one is at 90 degrees, which no leg reaches."""
    model = mujoco.MjModel.from_xml_string(read_mass(*files, bodies=BODIES).mjcf)
    assert [model.joint(i).name for i in range(1, 4)] == ["FemurL_y", "FemurL_x", "FemurL_z"]
    np.testing.assert_allclose(model.jnt_axis[1:4], [[0, 1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(model.dof_armature[6:], 0.05)


def test_a_rotation_with_a_slip_of_the_pen_becomes_the_nearest_one(files):
    """The femurs of MASS's own file have 0.21 for 0.0021."""
    files[0].write_text(SKELETON.replace(TURNED, "1 0 0  0 0.8660254 -0.5  0.21 0.5 0.8660254"))
    model = mujoco.MjModel.from_xml_string(read_mass(*files, bodies=BODIES).mjcf)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    found = data.geom_xmat[1].reshape(3, 3)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-6)
    # Half of the slip is a turn, the other half a stretch: 0.105 rad from what was meant.
    meant = np.array([[0, 0.5, 0.8660254], [1, 0, 0], [0, 0.8660254, -0.5]])
    angle = np.arccos((np.trace(found @ meant.T) - 1) / 2)
    assert 0.05 < angle < 0.15


def test_a_bent_knee_moves_the_shank_back(files):
    model = mujoco.MjModel.from_xml_string(read_mass(*files, bodies=BODIES).mjcf)
    data = mujoco.MjData(model)
    data.joint("TibiaL").qpos[0] = 1.0
    mujoco.mj_forward(model, data)
    assert data.body("TibiaL").xipos[0] < data.body("TibiaL").xpos[0] - 0.1


def test_muscles_on_other_bodies_are_left_out(files):
    made = read_mass(*files, bodies=BODIES)
    [unit] = made.units
    assert (unit.name, unit.peak_force) == ("L_Rectus", 850.0)
    assert unit.path[0] == ("Pelvis", pytest.approx((0.01, 0.1, 0.96)))
    parts = segments(made.units, BODIES, made.origins)
    assert parts.bodies.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(parts.points[0, 0], [0.04, 0.1, -0.02], atol=1e-6)


def test_the_engine_takes_such_a_model(files):
    """The rectus pulls the shank forward (the knee straight), from a knee that is bent."""
    made = read_mass(*files, bodies=BODIES)
    robot = build_robot(made.mjcf, made.units, limit_stiffness=1e3)
    np.testing.assert_allclose(robot.muscles.points, segments(made.units, BODIES, made.origins).points, atol=1e-6)
    engine = Engine(robot, 2, Physics(48, 1, None))
    q = torch.zeros(2, 11)
    q[:, 2], q[:, 6], q[:, 10] = 3.0, 1.0, 0.5
    _, qd, bad = engine.step(q, torch.zeros(2, 10), torch.tensor([[0.0], [1.0]]))
    assert not bad.any() and qd[1, 9] < qd[0, 9] - 0.1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name="TibiaL"', 'name="Shin"', "has no node TibiaL"),
        ('type="Ball" lower="-1.0', 'type="Screw" lower="-1.0', "joint of type Screw"),
        ('mass="7.0"', 'mass="heavy"', "should be 1 finite numbers"),
        ('size="0.13 0.4 0.12"', 'size="0.13 0.4"', "should be 3 finite numbers"),
        (TURNED, "1 0 0 0 1 0 0 0 2", "no rotation"),
        ("</Skeleton>", "", "is not XML"),
        ('parent="FemurL"', 'parent="Spine"', "is not among the chosen"),
        ('mass="7.0"', 'mass="0"', "must be above 0"),
        ('axis="1.0 0.0 0.0"', 'axis="0 0 0"', "axis has no length"),
        ('lower="0.0" upper="2.3"', 'lower="2.3" upper="0"', "lower limit 2.3 must be below the upper one, 0"),
        ('type="Free"', 'type="Ball"', "needs a Joint of type Free"),
        ('type="Revolute"', 'type="Free"', "and no other, needs a Joint of type Free"),
        ('<Skeleton name="Human">', '<?xml version="1.0" encoding="nonsense"?><Skeleton>', "is not XML"),
    ],
)
def test_damaged_skeletons_are_refused(files, old, new, message):
    assert old in SKELETON
    files[0].write_text(SKELETON.replace(old, new))
    with pytest.raises(PWMError, match=message):
        read_mass(*files, bodies=BODIES)


def test_damaged_muscles_are_refused(files):
    files[1].write_text(MUSCLES.replace('p="0.1 0.55 0.03"', 'p="0.1 nan 0.03"'))
    with pytest.raises(PWMError, match="3 finite numbers"):
        read_mass(*files, bodies=BODIES)
    files[1].write_text("<Muscle/>")
    with pytest.raises(PWMError, match="no muscle is attached"):
        read_mass(*files, bodies=BODIES)
    with pytest.raises(PWMError, match="cannot be read"):
        read_mass(files[0], files[1].with_name("none.xml"), bodies=BODIES)
