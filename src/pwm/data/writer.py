"""Write an episode store, one episode after another, in constant memory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

import numpy as np

from pwm.data.manifest import ARRAYS, FORMAT, MANIFEST, VERSION, FileEntry, Manifest, Returns, TaskEntry, check_id
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, sha256, write_array, write_json


class _ArrayFile:
    """A .npy file that grows by rows; its header is written again at the end, when their number is known."""

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
        self.files = {
            name: _ArrayFile(folder / f"{name}.npy", dtype, self.widths[name]) for name, dtype in ARRAYS.items()
        }
        self.offsets, self.returns = [0], list[float]()

    def append(self, episode: dict[str, np.ndarray]) -> None:
        for name, rows in episode.items():
            self.files[name].append(rows)
        self.offsets.append(self.offsets[-1] + len(episode["rewards"]))
        self.returns.append(float(episode["rewards"].sum(dtype=np.float64)))

    def finish(self) -> TaskEntry:
        files = {f"{name}.npy": file.finish() for name, file in self.files.items()}
        path = self.folder / "offsets.npy"
        write_array(path, np.array(self.offsets, np.int64))
        files[path.name] = FileEntry(sha256(path), (len(self.offsets),), "int64")
        best = np.sort(self.returns)[-10:]
        return TaskEntry(
            **self.facts,  # type: ignore[arg-type]
            episodes=len(self.returns),
            transitions=self.offsets[-1],
            files=files,
            returns=Returns(mean=float(np.mean(self.returns)), best10_mean=float(best.mean())),
        )

    def discard(self) -> None:
        for file in self.files.values():
            file.discard()
        (self.folder / "offsets.npy").unlink(missing_ok=True)


class StoreWriter:
    """Writes the store at folder `path`; use it as a context manager.

    Episodes stream to disk as they come. The manifest is written last, so a store whose writing was interrupted does
    not open; leaving the `with` block by an exception also removes its files.

    Raises:
        PWMError: `path` already holds a store, or the disk refuses.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        if (self.path / MANIFEST).exists():
            raise PWMError(f"{self.path}: already holds an episode store; choose another path or remove it first")
        self._tasks: dict[str, _TaskWriter] = {}
        self._closed = False

    def add_task(
        self,
        id: str,
        observation_dim: int,
        action_dim: int,
        episode_length: int,
        action_repeat: int,
        source: str | None = None,
    ) -> None:
        """Declare a task before its episodes. Lengths are agent steps; `source` says in words where the data come from.

        Raises:
            PWMError: the id is unusable or already declared, or a size is below one.
        """
        check_id(id, self.path)
        if id in self._tasks:
            raise PWMError(f"task {id}: declared twice; declare each task once")
        facts = {"observation_dim": observation_dim, "action_dim": action_dim}
        facts |= {"episode_length": episode_length, "action_repeat": action_repeat}
        for name, size in facts.items():
            if size < 1:
                raise PWMError(f"task {id}: {name} is {size}, must be at least 1")
        try:
            writer = _TaskWriter(self.path / id, {"id": id, "source": source, **facts}, observation_dim, action_dim)
        except OSError as error:
            raise _disk(self.path, error) from error
        self._tasks[id] = writer

    def add_episode(
        self,
        task: str,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminations: np.ndarray | None = None,
    ) -> None:
        """Append one episode: observations [T+1, o], actions [T, a], rewards [T], terminations bool [T] (None: none).

        rewards[t] is what actions[t] obtained on the way from observations[t] to observations[t + 1].

        Raises:
            PWMError: naming task, episode and field, for a wrong shape, NaN or infinity, or a termination before the
                end. A refused episode leaves no trace.
        """
        if task not in self._tasks:
            raise PWMError(f"task {task}: not declared; call add_task first")
        writer = self._tasks[task]
        rewards = np.asarray(rewards)
        steps = len(rewards) if rewards.ndim else 0
        where = f"task {task}, episode {len(writer.returns)}"
        limit = writer.facts["episode_length"]
        if not 1 <= steps <= limit:  # type: ignore[operator]
            raise PWMError(f"{where}: has {steps} rewards, must have 1 to {limit} (episode_length)")
        given = {"observations": observations, "actions": actions, "rewards": rewards}
        given["terminations"] = np.zeros(steps, bool) if terminations is None else terminations
        episode = {}
        for name, value in given.items():
            shape = (steps + (name == "observations"), *writer.widths[name])
            episode[name] = _checked(value, shape, ARRAYS[name], f"{where}, {name}")
        if episode["terminations"][:-1].any():
            raise PWMError(f"{where}, terminations: terminates before its last step; split it into two episodes")
        try:
            writer.append(episode)
        except OSError as error:
            self.abort()
            raise _disk(self.path, error) from error

    def close(self) -> None:
        """Finish all files, then write the manifest; from then on the store opens. A second call does nothing."""
        if self._closed:
            return
        empty = [task for task, writer in self._tasks.items() if not writer.returns]
        if empty or not self._tasks:
            self.abort()
            what = f"task {empty[0]}: has no episodes" if empty else "no task was declared"
            raise PWMError(f"{self.path}: {what}; nothing was written")
        self._closed = True
        try:
            entries = tuple(writer.finish() for writer in self._tasks.values())
        except OSError as error:
            raise _disk(self.path, error) from error
        write_json(self.path / MANIFEST, to_dict(Manifest(FORMAT, VERSION, entries)))

    def abort(self) -> None:
        """Remove what was written; the folder holds no store."""
        self._closed = True
        for writer in self._tasks.values():
            writer.discard()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self.abort()


def _checked(value: np.ndarray, shape: tuple[int, ...], dtype: str, where: str) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != shape:
        raise PWMError(f"{where}: shape is {list(array.shape)}, must be {list(shape)}")
    if dtype == "bool" and array.dtype != bool:
        raise PWMError(f"{where}: dtype is {array.dtype}, must be bool")
    array = np.ascontiguousarray(array, dtype)
    if dtype != "bool" and not np.isfinite(array).all():
        step = int(np.nonzero(~np.isfinite(array))[0][0])
        raise PWMError(f"{where}: NaN or infinity at step {step}; leave the episode out or repair it")
    return array


def _disk(path: Path, error: OSError) -> PWMError:
    return PWMError(f"{path}: cannot write ({error.strerror or error}); check the path, its permissions and free space")
