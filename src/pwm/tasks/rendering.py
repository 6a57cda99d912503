"""Renders MuJoCo states, on machines with and without a display.

A missing or broken OpenGL can abort or hang a process, so each backend is first tried in a child process. The one that
works is then used here, whatever the simulator chose when it was imported.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pwm.runtime.errors import PWMError

if TYPE_CHECKING:
    import mujoco

_OFF = ("disable", "disabled", "off", "false", "0")
_ANY = ("", "enable", "enabled", "on", "true", "1")
_PROBE_SECONDS = 60.0
_PROBE_CODE = "from pwm.tasks.rendering import _draw_test_picture; _draw_test_picture({backend!r})"
_CURE = (
    "install libegl1, libegl-mesa0, libgl1-mesa-dri and libopengl0 (Debian, Ubuntu), or libosmesa6, "
    "or run where there is a display; nothing but pictures needs it"
)


@dataclass(frozen=True)
class Rendering:
    """The `backend` that works on this machine ("egl", "osmesa", "glfw", "cgl"), or None and a `reason`."""

    backend: str | None
    reason: str | None = None


def probe_rendering() -> Rendering:
    """Find a working backend, in child processes with a time-out; cached for the life of this process.

    MUJOCO_GL is respected if it is set (even if it disables rendering); otherwise EGL, OSMesa and, with a display, GLFW
    are tried in this order. Never raises and changes no environment variable.
    """
    return _probe(os.environ.get("MUJOCO_GL", "").strip().lower())


@contextmanager
def working_gl() -> Iterator[None]:
    """Let other MuJoCo renderers in this block, such as Gymnasium's, use the backend that `probe_rendering` found.

    Left alone, they begin with GLFW, which without a display can end the process. Where MuJoCo is not loaded, this does
    nothing.

    Raises:
        PWMError: no backend works.
    """
    if "mujoco" not in sys.modules:
        yield
        return
    before, rendering = os.environ.get("MUJOCO_GL"), probe_rendering()
    if rendering.backend is None:
        raise PWMError(f"cannot render: {rendering.reason}")
    _load_triton_first()
    os.environ["MUJOCO_GL"] = rendering.backend
    try:
        yield
    finally:
        del os.environ["MUJOCO_GL"]
        if before is not None:
            os.environ["MUJOCO_GL"] = before


class MujocoRenderer:
    """Draws states of one model as uint8 [height, width, 3].

    Raises PWMError if OpenGL does not work.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        rendering = probe_rendering()
        if rendering.backend is None:
            raise PWMError(f"cannot render: {rendering.reason}")
        try:
            self._build(rendering.backend, model, height, width)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise PWMError(f"cannot render with {rendering.backend}: {reason}; set MUJOCO_GL") from error

    def _build(self, backend: str, model: mujoco.MjModel, height: int, width: int) -> None:
        import mujoco

        _load_triton_first()
        # The off-screen buffer is allocated at the model's own maximum; make sure the picture fits.
        model.vis.global_.offheight = max(height, model.vis.global_.offheight)
        model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
        self._mujoco = mujoco
        self._model = model
        self._gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        self._gl.make_current()
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._options = mujoco.MjvOption()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        # Freed even without a call of close(): bindings complain about contexts left over at exit.
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)

    def render(self, data: mujoco.MjData, camera: int = 0) -> np.ndarray:
        """The state `data` seen by the model's camera with that index (the free camera if it has none)."""
        mujoco = self._mujoco
        view = mujoco.MjvCamera()
        if camera < self._model.ncam:
            view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera
        else:
            mujoco.mjv_defaultFreeCamera(self._model, view)
        self._gl.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, None, view, everything, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return self._pixels[::-1].copy()  # OpenGL's rows start at the bottom

    def close(self) -> None:
        """Frees the OpenGL context; harmless when called again."""
        self._free()


@functools.cache
def _load_triton_first() -> None:
    """Load Triton's shared library if it is installed, without importing its Python.

    PyTorch loads it with the first optimiser. Both Triton and Mesa's software renderer bring an LLVM, and the process
    crashes with a segmentation fault if the renderer's is loaded first.
    """
    spec = importlib.util.find_spec("triton")
    for folder in spec.submodule_search_locations or () if spec else ():
        for library in Path(folder, "_C").glob("libtriton*.so"):
            with suppress(OSError):
                ctypes.CDLL(str(library))


def _free(gl: Any, context: Any) -> None:
    with suppress(Exception):
        gl.make_current()
        context.free()
        gl.free()


@functools.cache
def _probe(mujoco_gl: str) -> Rendering:
    if mujoco_gl in _OFF:
        return Rendering(None, f"MUJOCO_GL={mujoco_gl} switches rendering off; unset it")
    reasons = []
    backends = _candidates() if mujoco_gl in _ANY else (mujoco_gl,)
    for backend in backends:
        reason = _try_in_child(backend)
        if reason is None:
            return Rendering(backend)
        reasons.append(f"{backend}: {reason}")
    chosen = "" if mujoco_gl in _ANY else f"unset MUJOCO_GL (now '{mujoco_gl}'), or "
    return Rendering(None, f"no working OpenGL ({'; '.join(reasons)}); {chosen}{_CURE}")


def _candidates() -> tuple[str, ...]:
    if sys.platform == "darwin":
        return ("cgl",)
    if sys.platform == "win32":
        return ("glfw",)
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return ("egl", "osmesa", "glfw") if display else ("egl", "osmesa")


def _try_in_child(backend: str) -> str | None:
    """Render a small picture in a child process; returns None if that works, else the reason in one line."""
    if backend not in ("egl", "osmesa", "glfw", "cgl"):
        return "not a backend that MuJoCo knows"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        child = subprocess.run(
            [sys.executable, "-c", _PROBE_CODE.format(backend=backend)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_SECONDS:.0f} s"
    except OSError as error:
        return f"the probe could not be started ({error})"
    if child.returncode == 0 and "picture drawn" in child.stdout:
        return None
    lines = [line for line in child.stderr.splitlines() if line.strip()]
    return lines[-1].strip()[:100] if lines else f"the probe ended with code {child.returncode}"


def _draw_test_picture(backend: str) -> None:
    """Runs in the child process of the probe."""
    import mujoco

    warnings.simplefilter("ignore")
    xml = '<mujoco><worldbody><light pos="0 0 2"/><geom size=".3" rgba="1 0 0 1"/></worldbody></mujoco>'
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = MujocoRenderer.__new__(MujocoRenderer)  # not __init__, which would probe again
    renderer._build(backend, model, 32, 32)
    picture = renderer.render(data)
    renderer.close()
    if np.ptp(picture[..., 0]) == 0:
        raise RuntimeError("the picture came out empty")
    print("picture drawn")
