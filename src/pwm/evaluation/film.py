"""Films of one episode: short looping animations. On machines that cannot render, there is a reason instead."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import gymnasium
import numpy as np
from PIL import Image, features

from pwm.runtime.errors import PWMError
from pwm.runtime.files import write_atomic
from pwm.tasks.spec import TaskSpec

ActOne = Callable[[np.ndarray], np.ndarray]
"""One observation float32 [observation_dim] -> one action [action_dim] (extra entries are ignored)."""

_SIZE = (160, 120)  # width and height in pixels
_MOST_FPS = 25.0  # more frames per second are left out
_DEFAULT_FPS = 25.0  # for environments without `render_fps`


class _CannotRender(Exception):
    """Carries the reason out of the episode loop."""


def write_film(
    path: str | Path, spec: TaskSpec, act: ActOne, seed: int, seconds: float = 6.0, max_bytes: int = 400_000
) -> str | None:
    """Write the first `seconds` of one episode as a looping animated WebP in real time, of at most `max_bytes`.

    Returns None if the file was written (atomically), else the reason why not. Raises PWMError for a non-finite action
    or an unwritable path.
    """
    if not features.check("webp"):
        return "this build of Pillow cannot write WebP"
    try:
        with closing(_make(spec)) as env:
            native_fps = float(env.metadata.get("render_fps") or _DEFAULT_FPS)
            stride = max(1, round(native_fps / _MOST_FPS))
            last = min(spec.episode_length, round(seconds * native_fps))
            pictures = _pictures(env, spec, act, seed, stride, last)
    except _CannotRender as reason:
        return str(reason)
    encoded = _encode(pictures, stride / native_fps, max_bytes)
    if encoded is None:
        return f"the film does not fit into {max_bytes} bytes; ask for fewer seconds or a smaller size"
    write_atomic(Path(path), lambda file: file.write(encoded))
    return None


def _encode(pictures: list[Image.Image], frame_seconds: float, max_bytes: int) -> bytes | None:
    """WebP of at most `max_bytes`: first reduces quality, then drops every second frame; None if nothing fits."""
    while True:
        for quality in (70, 45, 20):
            buffer = io.BytesIO()
            settings = {"duration": max(1, round(1000 * frame_seconds)), "loop": 0, "quality": quality, "method": 3}
            pictures[0].save(buffer, format="WEBP", save_all=True, append_images=pictures[1:], **settings)
            if buffer.tell() <= max_bytes:
                return buffer.getvalue()
        if len(pictures) < 4:
            return None
        pictures, frame_seconds = pictures[::2], 2 * frame_seconds


def _pictures(env: gymnasium.Env, spec: TaskSpec, act: ActOne, seed: int, stride: int, last: int) -> list[Image.Image]:
    """Play one episode; pictures of every `stride`-th state up to step `last`, and of the episode's last state."""
    observation, _ = env.reset(seed=seed)
    pictures, step, over = [_render(env)], 0, False
    while not over and step - step % stride + stride <= last:
        action = np.asarray(act(observation), dtype=np.float32).reshape(-1)[: spec.action_dim]
        if action.shape != (spec.action_dim,) or not np.isfinite(action).all():
            raise PWMError(f"{spec.id}: the policy must give {spec.action_dim} finite action(s), got {action}")
        observation, _, terminated, truncated, _ = env.step(action)
        step, over = step + 1, bool(terminated or truncated)
        if over or step % stride == 0:
            pictures.append(_render(env))
    return pictures


def _make(spec: TaskSpec) -> gymnasium.Env:
    try:
        return spec.make(render_mode="rgb_array")
    except Exception as error:
        raise _CannotRender(f"{spec.id}: no environment that renders ({_one_line(error)})") from error


def _render(env: gymnasium.Env) -> Image.Image:
    try:
        frame = env.render()
    except Exception as error:
        raise _CannotRender(_one_line(error)) from error
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise _CannotRender("the environment's render() gives no picture")
    return Image.fromarray(frame).convert("RGB").resize(_SIZE, Image.Resampling.LANCZOS)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
