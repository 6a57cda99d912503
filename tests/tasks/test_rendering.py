import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from pwm.runtime.errors import PWMError
from pwm.tasks import rendering
from pwm.tasks.registry import get_task


@pytest.fixture
def fresh_probe():
    rendering._probe.cache_clear()
    yield
    rendering._probe.cache_clear()


def test_pictures():
    if reason := rendering.probe_rendering().reason:
        pytest.skip(reason)
    env = get_task("cartpole-swingup").make(render_mode="rgb_array", render_size=(60, 80))
    env.reset(seed=0)
    first, again = env.render(), env.render()
    for _ in range(10):
        env.step([1.0])
    later = env.render()
    assert first.shape == (60, 80, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    env.close()


TWO_BALLS = """
<mujoco>
  <visual><global offwidth="8" offheight="8"/></visual>
  <worldbody>
    <light pos="0 -3 0" dir="0 1 0"/>
    <camera name="front" pos="0 -3 0" xyaxes="1 0 0 0 0 1"/>
    <geom size=".4" pos="-.5 0 .5" rgba="1 0 0 1"/>
    <geom size=".4" pos=".5 0 -.5" rgba="0 0 1 1"/>
  </worldbody>
</mujoco>
"""


def test_a_picture_is_the_right_way_up_and_as_large_as_asked():
    if reason := rendering.probe_rendering().reason:
        pytest.skip(reason)
    import mujoco

    model = mujoco.MjModel.from_xml_string(TWO_BALLS)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = rendering.MujocoRenderer(model, 60, 80)
    picture = renderer.render(data).astype(int)
    free_view = renderer.render(data, camera=5)
    renderer.close(), renderer.close()
    assert picture.shape == free_view.shape == (60, 80, 3)
    red, blue = picture[..., 0] - picture[..., 2], picture[..., 2] - picture[..., 0]
    corner = np.s_[:30, :40], np.s_[30:, 40:]
    assert red[corner[0]].max() > 100 > 5 > red[corner[1]].max()
    assert blue[corner[1]].max() > 100 > 5 > blue[corner[0]].max()


RENDER_THEN_TRAIN = """
from pwm.tasks.registry import get_task
env = get_task("cartpole-swingup").make(render_mode="rgb_array")
env.reset(seed=0)
env.render()
import triton  # PyTorch imports it with its first optimiser
print("alive")
"""


def test_pytorch_can_train_after_a_picture_was_drawn():
    if reason := rendering.probe_rendering().reason:
        pytest.skip(reason)
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", RENDER_THEN_TRAIN]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert (child.returncode, child.stdout.strip()) == (0, "alive"), child.stderr


GYMNASIUM_WITHOUT_A_DISPLAY = """
import os
from pwm.tasks.gymnasium_env import task_from_gymnasium
env = task_from_gymnasium("Hopper-v5").make(render_mode="rgb_array")
env.reset(seed=0)
picture = env.render()
import triton  # PyTorch imports it with its first optimiser
print(picture.std() > 1, os.environ.get("MUJOCO_GL"))
"""


def test_gymnasium_draws_without_a_display_as_we_do():
    if reason := rendering.probe_rendering().reason:
        pytest.skip(reason)
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        environment.pop(name, None)
    command = [sys.executable, "-c", GYMNASIUM_WITHOUT_A_DISPLAY]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert (child.returncode, child.stdout.strip()) == (0, "True None"), child.stderr


def test_gymnasium_without_rendering_is_an_error_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", rendering)  # any module: it counts as loaded
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    with pytest.raises(PWMError, match="switches rendering off"), rendering.working_gl():
        pass


@pytest.mark.parametrize(("mujoco_gl", "reason"), [("disabled", "unset it"), ("bogus", "unset MUJOCO_GL .now 'bogus'")])
def test_without_rendering_there_is_a_reason_and_stepping_works(monkeypatch, mujoco_gl, reason):
    env = get_task("cartpole-swingup").make(render_mode="rgb_array")
    monkeypatch.setenv("MUJOCO_GL", mujoco_gl)
    assert rendering.probe_rendering().backend is None
    env.reset(seed=0)
    with pytest.raises(PWMError, match=f"cannot render: .*{reason}"):
        env.render()
    env.step([0.0])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "ended with code -6"),
        ("raise RuntimeError('no display')", "RuntimeError: no display"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("print('something else')", "ended with code 0"),
    ],
)
def test_a_child_that_aborts_fails_or_hangs_is_only_a_reason(monkeypatch, fresh_probe, code, reason):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "_PROBE_CODE", code)
    monkeypatch.setattr(rendering, "_PROBE_SECONDS", 1.0 if "sleep" in code else 30.0)
    monkeypatch.setattr(rendering, "_candidates", lambda: ("egl",))
    before = dict(os.environ)
    result = rendering.probe_rendering()
    assert result.backend is None and reason in result.reason and "libegl1" in result.reason
    assert dict(os.environ) == before


def test_the_first_backend_that_works_is_taken_and_remembered(monkeypatch, fresh_probe):
    tried = []

    def attempt(backend):
        tried.append(backend)
        return None if backend == "osmesa" else "broken"

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "_candidates", lambda: ("egl", "osmesa", "glfw"))
    monkeypatch.setattr(rendering, "_try_in_child", attempt)
    assert rendering.probe_rendering() == rendering.probe_rendering() == rendering.Rendering("osmesa")
    assert tried == ["egl", "osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "EGL")
    assert "egl: broken" in rendering.probe_rendering().reason and tried[2:] == ["egl"]
