"""Films of one episode: a strip of frames, and a short looping animation.

On machines that cannot render, both return the reason as a string instead of raising.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
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

_DEFAULT_FPS = 25.0  # for environments without `render_fps`


class _CannotRender(Exception):
    """Carries the reason out of the episode loop."""


def film_strip(
    spec: TaskSpec, act: ActOne, seed: int, frames: int = 8, size: tuple[int, int] = (120, 160)
) -> Image.Image | str:
    """One episode as a horizontal strip of about `frames` pictures, evenly spaced from its first state to its last.

    `size` is (height, width) of one picture in pixels; an episode that terminates early gives fewer pictures. Returns
    the reason as a string if rendering is not possible. Raises PWMError for a non-finite action.
    """
    wanted = set(np.linspace(0, spec.episode_length, max(frames, 2)).round().astype(int).tolist())
    try:
        with closing(_make(spec)) as env:
            frames_of_episode = _episode_frames(env, spec, act, seed, wanted.__contains__)
            pictures = [_shrink(frame, size) for _, frame in frames_of_episode]
    except _CannotRender as reason:
        return str(reason)
    height, width = size
    strip = Image.new("RGB", (width * len(pictures), height))
    for position, picture in enumerate(pictures):
        strip.paste(picture, (position * width, 0))
    return strip


def write_film(
    path: str | Path,
    spec: TaskSpec,
    act: ActOne,
    seed: int,
    seconds: float = 6.0,
    fps: float = 25.0,
    size: tuple[int, int] = (120, 160),
    max_bytes: int = 400_000,
) -> str | None:
    """Write the first `seconds` of one episode as a looping animated WebP in real time, of at most `max_bytes`.

    fps   maximum frames per second (and at most one frame per agent step)
    size  (height, width) in pixels

    Returns None if the file was written (atomically), else the reason why not. Raises PWMError for a non-finite action
    or an unwritable path.
    """
    if not features.check("webp"):
        return "this build of Pillow cannot write WebP"
    try:
        with closing(_make(spec)) as env:
            pictures, frame_seconds = _film_frames(env, spec, act, seed, seconds, fps, size)
    except _CannotRender as reason:
        return str(reason)
    encoded = _encode(pictures, frame_seconds, max_bytes)
    if encoded is None:
        return f"the film does not fit into {max_bytes} bytes; ask for fewer seconds or a smaller size"
    write_atomic(Path(path), lambda file: file.write(encoded))
    return None


def _film_frames(
    env: gymnasium.Env, spec: TaskSpec, act: ActOne, seed: int, seconds: float, fps: float, size: tuple[int, int]
) -> tuple[list[Image.Image], float]:
    """The frames of the film, and how long each is shown, in seconds."""
    native_fps = float(env.metadata.get("render_fps") or _DEFAULT_FPS)
    stride = max(1, round(native_fps / fps))
    last = min(spec.episode_length, round(seconds * native_fps))
    pictures = []
    for step, frame in _episode_frames(env, spec, act, seed, lambda step: step % stride == 0):
        pictures.append(_shrink(frame, size))
        if step + stride > last:
            break
    return pictures, stride / native_fps


def _encode(pictures: list[Image.Image], frame_seconds: float, max_bytes: int) -> bytes | None:
    """WebP of at most `max_bytes`: first reduces quality, then drops every second frame; None if nothing fits."""
    while True:
        for quality in (70, 45, 20):
            buffer = io.BytesIO()
            pictures[0].save(
                buffer,
                format="WEBP",
                save_all=True,
                append_images=pictures[1:],
                duration=max(1, round(1000 * frame_seconds)),
                loop=0,
                quality=quality,
                method=3,
            )
            if buffer.tell() <= max_bytes:
                return buffer.getvalue()
        if len(pictures) < 4:
            return None
        pictures, frame_seconds = pictures[::2], 2 * frame_seconds


def _episode_frames(
    env: gymnasium.Env, spec: TaskSpec, act: ActOne, seed: int, wanted: Callable[[int], bool]
) -> Iterator[tuple[int, np.ndarray]]:
    """Play one episode; yields (step, uint8 [H, W, 3]) at the wanted steps and for the last state."""
    observation, _ = env.reset(seed=seed)
    if wanted(0):
        yield 0, _render(env)
    step, over = 0, False
    while not over:
        action = np.asarray(act(observation), dtype=np.float32).reshape(-1)[: spec.action_dim]
        if action.shape != (spec.action_dim,) or not np.isfinite(action).all():
            raise PWMError(f"{spec.id}: the policy must give {spec.action_dim} finite action(s), got {action}")
        observation, _, terminated, truncated, _ = env.step(action)
        step, over = step + 1, bool(terminated or truncated)
        if over or wanted(step):
            yield step, _render(env)


def _make(spec: TaskSpec) -> gymnasium.Env:
    try:
        return spec.make(render_mode="rgb_array")
    except Exception as error:
        raise _CannotRender(f"{spec.id}: no environment that renders ({_one_line(error)})") from error


def _render(env: gymnasium.Env) -> np.ndarray:
    try:
        frame = env.render()
    except Exception as error:
        raise _CannotRender(_one_line(error)) from error
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise _CannotRender("the environment's render() gives no picture")
    return frame


def _shrink(frame: np.ndarray, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return Image.fromarray(frame).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
