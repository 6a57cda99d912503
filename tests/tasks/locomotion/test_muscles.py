"""The bundled legs: MuJoCo, which knows nothing of our code, tells the moment arm of every unit at every joint."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np
import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.catalogue import find_task
from pwm.tasks.locomotion.engine import Engine
from pwm.tasks.locomotion.muscles import ASSETS, STRENGTH, MuscleUnit, leg_muscles, read_muscles, segments
from pwm.tasks.locomotion.robot import build_robot, load_robot
from pwm.tasks.locomotion.settings import Physics

UNITS = leg_muscles()

# Motion -> (joint, sign of the moment arm that drives it).
MOTIONS = {
    "hip_flexion": ("hip_flexion", 1),
    "hip_extension": ("hip_flexion", -1),
    "hip_abduction": ("hip_abduction", 1),
    "hip_adduction": ("hip_abduction", -1),
    "hip_external_rotation": ("hip_rotation", 1),
    "hip_internal_rotation": ("hip_rotation", -1),
    "knee_flexion": ("knee", 1),
    "knee_extension": ("knee", -1),
    "ankle_dorsiflexion": ("ankle", 1),
    "ankle_plantarflexion": ("ankle", -1),
    "ankle_inversion": ("ankle_inversion", 1),
    "ankle_eversion": ("ankle_inversion", -1),
    "great_toe_extension": ("great_toe", 1),
    "great_toe_flexion": ("great_toe", -1),
    "small_toes_extension": ("small_toes", 1),
    "small_toes_flexion": ("small_toes", -1),
}


def body_origins(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return {model.body(i).name: data.xpos[i].copy() for i in range(1, model.nbody)}


def legs_with_tendons() -> mujoco.MjModel:
    """The legs with every unit as a spatial tendon of MuJoCo."""
    plain = mujoco.MjModel.from_xml_path(str(ASSETS / "muscle-humanoid.xml"))
    origins = body_origins(plain)
    tree = ElementTree.parse(ASSETS / "muscle-humanoid.xml").getroot()
    bodies = {body.get("name"): body for body in tree.iter("body")}
    tendons = ElementTree.SubElement(tree, "tendon")
    for number, unit in enumerate(UNITS):
        tendon = ElementTree.SubElement(tendons, "spatial", name=unit.name)
        for i, (body, point) in enumerate(unit.path):
            place = " ".join(map(str, np.subtract(point, origins[body])))
            ElementTree.SubElement(bodies[body], "site", name=f"{number}.{i}", pos=place, size="0.001")
            ElementTree.SubElement(tendon, "site", site=f"{number}.{i}")
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(tree, encoding="unicode"))


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return legs_with_tendons()


def moment_arms(model: mujoco.MjModel, angles: dict[str, float]) -> dict[tuple[str, str], float]:
    """(unit, joint) -> minus the change of the unit's length with the joint's angle, in metres per radian."""
    step = 1e-5
    data = mujoco.MjData(model)
    joints = [model.joint(i).name for i in range(1, model.njnt)]

    def lengths(joint: str, change: float) -> np.ndarray:
        mujoco.mj_resetData(model, data)
        for name in joints:
            kind, _, side = name.rpartition("_")
            data.joint(name).qpos[0] = np.radians(angles.get(kind, 0.0)) + (change if name == joint else 0.0)
        mujoco.mj_fwdPosition(model, data)
        return data.ten_length.copy()

    arms = {}
    for joint in joints:
        slope = -(lengths(joint, step) - lengths(joint, -step)) / (2 * step)
        arms |= {(unit.name, joint): float(arm) for unit, arm in zip(UNITS, slope)}
    return arms


def test_152_units_76_on_each_side():
    assert len(UNITS) == 152 and len({unit.name for unit in UNITS}) == 152
    assert sum(unit.name.endswith(" left") for unit in UNITS) == 76


def test_the_body_weighs_what_winter_says(model):
    expected = 75.0 * (0.142 + 2 * (0.100 + 0.0465 + 0.0145))
    assert model.body_mass.sum() == pytest.approx(expected, rel=0.01)
    assert model.nq - 7 == 18


def wrong_signs(model: mujoco.MjModel, angles: dict[str, float], joints: str, least: float) -> list[str]:
    arms = moment_arms(model, angles)
    wrong = []
    for unit in UNITS:
        side = unit.name.rsplit(" ", 1)[1]
        for action in unit.actions:
            joint, sign = MOTIONS[action]
            arm = sign * arms[unit.name, f"{joint}_{side}"]
            if joint.startswith(joints) and not least < arm < 0.12:
                wrong.append(f"{unit.name}: {action} {1000 * arm:.1f} mm")
    return wrong


def test_every_action_has_a_moment_arm_of_the_right_sign_and_size(model):
    assert wrong_signs(model, {}, "", 0.002) == []


@pytest.mark.parametrize("knee", [15.0, 45.0, 75.0, 100.0])
def test_signs_at_the_knee_hold_while_it_bends(model, knee):
    assert wrong_signs(model, {"knee": knee}, "knee", 0.0) == []


@pytest.mark.parametrize("ankle", [-30.0, -15.0, 15.0])
def test_signs_at_the_ankle_hold_while_it_bends(model, ankle):
    assert wrong_signs(model, {"ankle": ankle}, "ankle", 0.0) == []


def test_the_strong_muscles_of_each_joint_are_there(model):
    """At full activation a leg can press, kick and jump: joint moments in the range of strong adults, in N m."""
    arms = moment_arms(model, {})
    for action, least, most in [
        ("knee_extension", 60, 350),
        ("knee_flexion", 40, 300),
        ("ankle_plantarflexion", 60, 300),
        ("ankle_dorsiflexion", 10, 80),
        ("hip_extension", 60, 300),
        ("hip_flexion", 30, 250),
        ("hip_abduction", 30, 200),
        ("hip_adduction", 30, 250),
    ]:
        joint, sign = MOTIONS[action]
        pulls = [sign * STRENGTH * unit.peak_force * arms[unit.name, f"{joint}_left"] for unit in UNITS[:76]]
        assert least < sum(pull for pull in pulls if pull > 0) < most, action


def test_left_and_right_are_mirror_images(model):
    arms = moment_arms(model, {"knee": 20.0, "hip_flexion": 15.0, "hip_abduction": 5.0})
    for unit in UNITS[:76]:
        for joint in {joint for joint, _ in MOTIONS.values()}:
            other = unit.name.replace(" left", " right")
            assert arms[unit.name, f"{joint}_left"] == pytest.approx(arms[other, f"{joint}_right"], abs=1e-6)


def test_segments_give_the_lengths_of_the_tendons(model):
    """In a bent pose: the parts between bodies plus the parts inside bodies are MuJoCo's tendon lengths."""
    origins = body_origins(model)
    bodies = list(origins)
    parts = segments(UNITS, bodies, origins)
    data = mujoco.MjData(model)
    data.qpos[7:] = np.linspace(-0.3, 0.4, 18)
    mujoco.mj_fwdPosition(model, data)
    lengths = np.zeros(len(UNITS))
    for unit, pair, points in zip(parts.unit, parts.bodies, parts.points):
        ends = []
        for body, point in zip(pair, points):
            frame = data.body(bodies[body])
            ends.append(frame.xpos + frame.xmat.reshape(3, 3) @ point)
        lengths[unit] += np.linalg.norm(ends[1] - ends[0])
    for number, unit in enumerate(UNITS):
        for (first, a), (second, b) in zip(unit.path[:-1], unit.path[1:]):
            lengths[number] += np.linalg.norm(np.subtract(a, b)) if first == second else 0.0
    np.testing.assert_allclose(lengths, data.ten_length, atol=1e-6)
    assert parts.strength[0] == pytest.approx(0.36 * UNITS[0].peak_force)


def pull(model: mujoco.MjModel, q: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """Torques [18] of units that pull with `forces` (N) at joint angles `q`: minus the slope of all lengths."""
    data, step, torques = mujoco.MjData(model), 1e-5, np.zeros(18)
    for joint in range(18):
        ends = []
        for change in (step, -step):
            data.qpos[7:] = q
            data.qpos[7 + joint] += change
            mujoco.mj_fwdPosition(model, data)
            ends.append(forces @ data.ten_length)
        torques[joint] = -(ends[0] - ends[1]) / (2 * step)
    return torques


@pytest.mark.parametrize("seed", [0, 1])
def test_the_engine_pulls_with_strength_times_moment_arm(model, seed):
    """In a bent pose of a turned pelvis, two robots at once; muscles alone push and turn no free body."""
    robot = load_robot("muscle-humanoid", 1e3)
    physics = find_task("muscle-humanoid")[1]
    engine = Engine(robot, 2, physics)
    draw = np.random.default_rng(seed)
    angles = draw.uniform(-0.3, 0.4, (2, 18))
    turn = draw.normal(size=(2, 4))
    place = np.concatenate([draw.normal(size=(2, 2)), np.full((2, 1), 2.0)], axis=1)
    q = np.concatenate([place, turn / np.linalg.norm(turn, axis=1, keepdims=True), angles], axis=1)
    q, qd = torch.tensor(q, dtype=torch.float32), torch.zeros(2, 24)
    activation = torch.tensor(draw.uniform(0, 1, (2, 152)), dtype=torch.float32)
    torques = []
    for control in (activation, torch.zeros(2, 152)):
        engine.step(q, qd, control)
        torques.append(engine._parts[0]._dynamics.substeps[0].tau.numpy().reshape(2, 24).copy())
    found = torques[0] - torques[1]
    for row in range(2):
        expected = pull(model, angles[row], activation[row].numpy() * robot.muscles.strength)
        assert np.abs(expected).max() > 20.0
        np.testing.assert_allclose(found[row, 6:], expected, rtol=1e-3, atol=5e-3)
    np.testing.assert_allclose(found[:, :6], 0.0, atol=5e-3)


STICK = """<mujoco><worldbody><body name="a" pos="0 0 2"><freejoint/><geom type="sphere" size="0.1" mass="1"/>
  <body name="b" pos="0.3 0 0"><joint axis="0 1 0" damping="0.1"/><geom type="sphere" size="0.1" mass="1"/></body>
</body></worldbody></mujoco>"""


@pytest.mark.parametrize(("start", "pulls"), [((0.4, 0, 2.0), False), ((0.0, 0, 2.1), True)])
def test_a_segment_without_length_pulls_nothing_and_spoils_no_gradient(start, pulls):
    unit = MuscleUnit("unit", 100.0, (("a", start), ("b", (0.4, 0, 2.0))))
    engine = Engine(build_robot(STICK, [unit], 1e3), 1, Physics(8, 1, None))
    q, qd = torch.tensor([[0.0, 0, 2, 0, 0, 0, 1, 0]], requires_grad=True), torch.zeros(1, 7)
    activation = torch.ones(1, 1, requires_grad=True)
    q_new, qd_new, bad = engine.step(q, qd, activation)
    slack, _, _ = engine.step(q, qd, torch.zeros(1, 1))
    assert not bad
    assert bool((q_new[0, 7] - slack[0, 7]).abs() > 1e-3) == pulls
    (q_new.square().sum() + qd_new.square().sum()).backward()
    assert torch.isfinite(q.grad).all() and torch.isfinite(activation.grad).all()


HEAD = "muscle,unit,peak_force,actions,path\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("soleus,1,many,,tibia 0 0 1 > foot 0 0 0", "line 2: not a muscle"),
        ("soleus,1,10,,tibia 0 0 > foot 0 0 0", "line 2: not a muscle"),
        ("soleus,1,10,,tibia 0 0 1", "joins no two bodies"),
        ("soleus,1,10,,tibia 0 0 1 > tibia 0 0 0", "joins no two bodies"),
        ("soleus,1,-10,,tibia 0 0 1 > foot 0 0 0", "peak force of -10"),
        ("soleus,1,10,,tibia 0 0 1 > foot 0 nan 0", "not finite"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, row, message):
    (tmp_path / "table.csv").write_text(HEAD + row + "\n")
    with pytest.raises(PWMError, match=message):
        read_muscles(tmp_path / "table.csv", "left")


def test_a_muscle_needs_its_bodies():
    unit = MuscleUnit("tail 1", 10.0, (("pelvis", (0, 0, 0)), ("tail", (0, 0, 1))))
    with pytest.raises(PWMError, match="no body called tail"):
        segments([unit], ["pelvis"], {"pelvis": (0, 0, 0)})
