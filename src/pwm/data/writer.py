"""Writes an episode store, episode by episode, in constant memory."""

from __future__ import annotations

import contextlib
import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pwm.data import manifest
from pwm.data.manifest import ARRAYS, UNTAGGED, FileEntry, Origin, Returns, TaskEntry
from pwm.runtime.config import require
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, cannot_write, sha256, write_array
from pwm.runtime.lock import FolderLock
from pwm.runtime.progress import progress

ACTION_TOLERANCE = 1e-6  # how far an action may exceed [-1, 1], for rounding


class WrongEpisode(PWMError):
    """An episode was refused; the writer can go on with the next."""


class _ArrayFile:
    """A .npy file that grows by rows; its header is rewritten at the end, when their number is known."""

    def __init__(self, path: Path, dtype: str, width: tuple[int, ...]) -> None:
        self.path, self.dtype, self.width, self.rows = path, np.dtype(dtype), width, 0
        self._file = open(path, "wb")
        self._data_start = self._write_header()

    def _write_header(self) -> int:
        # NumPy pads its headers so that the first axis can grow to any length in place.
        description = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.rows, *self.width)}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        self._file.write(rows.tobytes())
        self.rows += len(rows)

    def finish(self) -> FileEntry:
        self._file.seek(0)
        if self._write_header() != self._data_start:
            raise RuntimeError(f"{self.path}: the .npy header grew; this version of NumPy leaves no room in it")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return FileEntry(sha256(self.path), (self.rows, *self.width), self.dtype.name)

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # closing writes what is left, which a full disk refuses again
            self._file.close()
        self.path.unlink(missing_ok=True)


class _TaskWriter:
    """The growing files of one task."""

    def __init__(self, folder: Path, facts: dict[str, object], observation_dim: int, action_dim: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.facts = folder, facts
        self.widths = {"observations": (observation_dim,), "actions": (action_dim,), "rewards": (), "terminations": ()}
        self.files = {name: _ArrayFile(folder / f"{name}.npy", ARRAYS[name], w) for name, w in self.widths.items()}
        # There may be millions of episodes: eight bytes per number instead of a Python object.
        self.offsets, self.returns, self.quality = array("q", [0]), array("d"), array("B")

    def append(self, episode: dict[str, np.ndarray], quality: int) -> None:
        for name, rows in episode.items():
            self.files[name].append(rows)
        self.offsets.append(self.offsets[-1] + len(episode["rewards"]))
        self.returns.append(float(episode["rewards"].sum(dtype=np.float64)))
        self.quality.append(quality)

    def finish(self, codes: np.ndarray) -> TaskEntry:
        """Finish the files; `codes` [256] maps the tag codes used so far to the final ones."""
        files = {f"{name}.npy": file.finish() for name, file in self.files.items()}
        small = {"offsets": np.array(self.offsets, np.int64)}
        if any(code != UNTAGGED for code in self.quality):
            small["quality"] = codes[np.array(self.quality, np.uint8)]
        for name, values in small.items():
            path = self.folder / f"{name}.npy"
            write_array(path, values)
            files[path.name] = FileEntry(sha256(path), values.shape, values.dtype.name)
        facts = self.facts | {"episodes": len(self.returns), "transitions": self.offsets[-1]}
        return TaskEntry(**facts, files=files, returns=Returns.of(np.array(self.returns)))  # type: ignore[arg-type]

    def discard(self) -> None:
        for file in self.files.values():
            file.discard()
        for name in ("offsets", "quality"):
            (self.folder / f"{name}.npy").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or gone
            self.folder.rmdir()


class StoreWriter:
    """Writes a store to the folder `path`; use it as a context manager.

    Episodes are streamed to disk. The manifest is written last, so an interrupted store does not open; leaving the
    `with` block with an exception also removes its files.

    Raises:
        PWMError: `path` already holds a store, another writer is at work there, or the disk cannot be written to.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._lock = FolderLock(self.path)
        if (self.path / manifest.MANIFEST).exists():
            self._lock.release()
            raise PWMError(f"{self.path}: already holds an episode store; choose another path or remove it first")
        self._tasks: dict[str, _TaskWriter] = {}
        self._qualities: dict[str, int] = {}
        self._closed = False

    def add_task(
        self,
        id: str,
        observation_dim: int,
        action_dim: int,
        episode_length: int,
        action_repeat: int,
        source: str | None = None,
        origins: Sequence[Origin] = (),
    ) -> None:
        """Declare a task before adding its episodes. `episode_length` is the longest allowed, in agent steps; `source`
        describes in words where the data come from, and `origins` how they were collected.

        Raises:
            PWMError: the id is invalid or already declared, or a size is below one.
        """
        manifest.check_id(id, self.path)
        if id in self._tasks:
            raise PWMError(f"task {id}: declared twice; declare each task once")
        facts = dict(zip(manifest.SIZES, (observation_dim, action_dim, episode_length, action_repeat), strict=True))
        for name, size in facts.items():
            require(size >= 1, f"task {id}: {name}", size, "at least 1")
        about = {"id": id, "source": source, "origins": tuple(origins)}
        try:
            self._tasks[id] = _TaskWriter(self.path / id, about | facts, observation_dim, action_dim)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def add_episode(
        self,
        task: str,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminations: np.ndarray | None = None,
        quality: str | None = None,
    ) -> None:
        """Append one episode: observations [T+1, o], actions [T, a], rewards [T], terminations bool [T] (None: none).

        rewards[t] is the reward of actions[t], which led from observations[t] to observations[t + 1]. Actions are in
        [-1, 1]. `quality` is a tag such as "random", "medium" or "expert".

        Raises:
            WrongEpisode: (a PWMError) a shape is wrong, a number is NaN or infinite, an action is outside [-1, 1], or
                there is a termination before the last step. Nothing of the episode is written.
        """
        if task not in self._tasks:
            raise PWMError(f"task {task}: not declared; call add_task first")
        writer = self._tasks[task]
        rewards = np.asarray(rewards)
        steps = len(rewards) if rewards.ndim else 0
        where = f"task {task}, episode {len(writer.returns)}"
        limit = writer.facts["episode_length"]
        if not 1 <= steps <= limit:  # type: ignore[operator]
            repeat = writer.facts["action_repeat"]
            raise WrongEpisode(
                f"{where}: has {steps} rewards, must have 1 to {limit} (episode_length, at action repeat {repeat})"
            )
        given = {"observations": observations, "actions": actions, "rewards": rewards}
        given["terminations"] = np.zeros(steps, bool) if terminations is None else terminations
        episode = {}
        for name, value in given.items():
            shape = (steps + (name == "observations"), *writer.widths[name])
            episode[name] = _checked(value, shape, ARRAYS[name], f"{where}, {name}")
        _check_range(episode["actions"], f"{where}, actions")
        if episode["terminations"][:-1].any():
            raise WrongEpisode(f"{where}, terminations: terminates before its last step; split it into two episodes")
        code = self._code(quality)
        try:
            writer.append(episode, code)
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error

    def _code(self, quality: str | None) -> int:
        """The code of a tag."""
        if quality is None:
            return UNTAGGED
        if quality not in self._qualities:
            manifest.check_tag(quality, self.path)
            if len(self._qualities) == UNTAGGED:
                raise PWMError(f"{self.path}: more than {UNTAGGED} qualities; use fewer tags")
            self._qualities[quality] = len(self._qualities)
        return self._qualities[quality]

    def close(self, show: bool = False) -> None:
        """Finish all files, then write the manifest; `show` shows the progress. Further calls do nothing."""
        if self._closed:
            return
        empty = [task for task, writer in self._tasks.items() if not writer.returns]
        if empty or not self._tasks:
            self.abort()
            what = f"task {empty[0]}: has no episodes" if empty else "no task was declared"
            raise PWMError(f"{self.path}: {what}; nothing was written")
        self._closed = True
        try:
            qualities = tuple(sorted(self._qualities))  # independent of the order of the episodes
            entries = tuple(self._finish(qualities, show))
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        manifest.write_manifest(self.path, entries, qualities)
        self._lock.release()

    def _finish(self, qualities: Sequence[str], show: bool) -> Iterator[TaskEntry]:
        codes = np.full(UNTAGGED + 1, UNTAGGED, np.uint8)
        for final, tag in enumerate(qualities):
            codes[self._qualities[tag]] = final
        with progress("Checksums", len(self._tasks)) if show else contextlib.nullcontext() as bar:
            for writer in self._tasks.values():
                yield writer.finish(codes)
                if bar is not None:
                    bar.advance()

    def abort(self) -> None:
        """Remove everything written so far."""
        self._closed = True
        for writer in self._tasks.values():
            writer.discard()
        self._lock.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self.abort()


def _checked(value: np.ndarray, shape: tuple[int, ...], dtype: str, where: str) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != shape:
        raise WrongEpisode(f"{where}: shape is {list(array.shape)}, must be {list(shape)}")
    if dtype == "bool" and array.dtype != bool:
        raise WrongEpisode(f"{where}: dtype is {array.dtype}, must be bool")
    array = np.ascontiguousarray(array, dtype)
    if dtype != "bool" and not np.isfinite(array).all():
        step = int(np.nonzero(~np.isfinite(array))[0][0])
        raise WrongEpisode(f"{where}: NaN or infinity at step {step}; leave the episode out or repair it")
    return array


def _check_range(actions: np.ndarray, where: str) -> None:
    beyond = np.abs(actions).max(axis=1) > 1.0 + ACTION_TOLERANCE
    if beyond.any():
        step = int(beyond.argmax())
        found = f"{float(np.abs(actions[step]).max()):.6g} at step {step} is outside [-1, 1]"
        raise WrongEpisode(f"{where}: {found}; scale actions to [-1, 1], as the task takes them")


def check_space(path: PathLike, size: int) -> None:
    """Raise PWMError if the disk of `path` has less than `size` bytes free."""
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        needs = f"needs {size / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free"
        raise PWMError(f"{path}: {needs}; make room, take fewer tasks, or choose another disk")
