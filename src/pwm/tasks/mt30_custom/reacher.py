"""The suite's reacher with an arm of three links instead of two. Arena, target, reward and start are the suite's."""

from __future__ import annotations

from xml.etree import ElementTree

from dm_control.rl.control import Environment
from dm_control.suite import reacher

_TARGET_RADIUS = {"three-easy": 0.05, "three-hard": 0.015}  # metres

# Along each link's x axis. The finger reaches 0.27 m, as far as the two links of the suite reach 0.24 m.
_ARM = """
<body name="arm0" pos="0 0 .01">
  <joint name="shoulder0"/>
  <geom name="arm0" type="capsule" fromto="0 0 0 .09 0 0" size=".01" material="self"/>
  <body name="arm1" pos=".09 0 0">
    <joint name="shoulder1" limited="true" range="-80 80"/>
    <geom name="arm1" type="capsule" fromto="0 0 0 .09 0 0" size=".01" material="self"/>
    <body name="hand" pos=".09 0 0">
      <joint name="wrist" limited="true" range="-80 80"/>
      <geom name="hand" type="capsule" fromto="0 0 0 .1 0 0" size=".01" material="self"/>
      <body name="finger" pos=".09 0 0">
        <camera name="hand" pos="0 0 .2" mode="track"/>
        <geom name="finger" type="sphere" size=".01" material="effector"/>
      </body>
    </body>
  </body>
</body>
"""


def three_link_model() -> str:
    """The suite's reacher model (MJCF) with the arm and the motors replaced."""
    xml, _ = reacher.get_model_and_assets()
    model = ElementTree.fromstring(xml)
    world, actuators = model.find("worldbody"), model.find("actuator")
    model.set("model", "three-link planar reacher")
    world.remove(world.find("body"))
    world.append(ElementTree.fromstring(_ARM))
    actuators.clear()
    for joint in ("shoulder0", "shoulder1", "wrist"):
        ElementTree.SubElement(actuators, "motor", name=joint, joint=joint)
    return ElementTree.tostring(model, encoding="unicode")


def load(task: str) -> Environment:
    _, assets = reacher.get_model_and_assets()
    physics = reacher.Physics.from_xml_string(three_link_model(), assets)
    return Environment(physics, reacher.Reacher(_TARGET_RADIUS[task]))
