"""Converts .npz recordings to an episode store, one episode at a time: memory use does not grow with the file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pwm.data.writer import StoreWriter, check_space
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.progress import progress

_SHIFTED = ("obs", "action", "reward")
_PLAIN = ("observations", "actions", "rewards")
_SMALL = 1 << 28  # bytes; anything larger cannot be an index array


def store_from_npz(
    files: Mapping[str, PathLike],
    out: PathLike,
    action_repeat: int = 2,
    source: str | None = None,
    quality: str | None = None,
) -> None:
    """Write the store `out` from one .npz file per task. Each file has one of these sets of arrays:

    * `obs` [E, T+1, o], `action` [E, T+1, a], `reward` [E, T+1], the row order of TD-MPC2's data: row t holds the
      observation at step t and the action and reward that LED to it, so row 0 of action and reward is filler and is
      dropped;
    * `observations` [E, T+1, o], `actions` [E, T, a], `rewards` [E, T], the order of Gymnasium and of the store;
    * `observations` [N + E, o], `actions` [N, a], `rewards` [N], and `lengths` [E] or `offsets` [E + 1]: the same for
      episodes of different lengths, concatenated.

    Optional: `terminations`, bool, with the shape (and shift) of the rewards; without it all episodes count as
    truncated. `quality` [E], text, or the argument `quality` for all. `source` goes into the manifest.

    Raises:
        PWMError: a file is missing or damaged, lacks an array, or holds arrays that do not fit together.
    """
    with ExitStack() as stack:
        recordings = {task: _Recording(Path(path), stack) for task, path in files.items()}
        check_space(out, sum(recording.size for recording in recordings.values()))
        with StoreWriter(out) as writer, progress("Episodes", sum(r.episodes for r in recordings.values())) as bar:
            for task, recording in recordings.items():
                writer.add_task(task, *recording.widths, recording.longest, action_repeat, source)
                for episode in recording.read():
                    writer.add_episode(task, **{"quality": quality} | episode)
                    bar.advance()


class _Recording:
    """One open file: its arrays, and an iterator over its episodes."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            self.arrays = {name: _Column(path, stack.enter_context(archive.open(m))) for name, m in members.items()}
        except PWMError:
            raise
        except FileNotFoundError as error:
            raise PWMError(f"{path}: no such file; check the path") from error
        except Exception as error:  # zipfile, zlib and NumPy each have their own for a damaged file
            raise _damaged(path, error) from error
        self.shifted = "obs" in self.arrays
        names = _SHIFTED if self.shifted else _PLAIN
        for name in names:
            if name not in self.arrays:
                listed = ", ".join(names)
                raise PWMError(f"{path}: {name} is not in the file; it needs {listed} (docs/data.md has all layouts)")
        self.columns = {plain: self.arrays[name] for plain, name in zip(_PLAIN, names, strict=True)}
        if "terminations" in self.arrays:
            self.columns["terminations"] = self.arrays["terminations"]
        self.lengths = self._lengths(names)
        self.episodes, self.longest = len(self.lengths), int(self.lengths.max())
        self.widths = self.columns["observations"].shape[-1], self.columns["actions"].shape[-1]
        self.size = int(self.lengths.sum() + self.episodes) * (sum(self.widths) + 2) * 4  # of the store, in bytes
        self.quality = self.arrays["quality"].all() if "quality" in self.arrays else None
        if self.quality is not None and (self.quality.dtype.kind != "U" or self.quality.shape != (self.episodes,)):
            raise PWMError(f"{path}: quality must be text [{self.episodes}], one tag per episode")

    def _lengths(self, names: tuple[str, ...]) -> np.ndarray:
        """Steps of each episode [E]; checks the shapes of all arrays."""
        shapes = {name: column.shape for name, column in self.columns.items()}
        observations, actions, rewards = (shapes[name] for name in _PLAIN)
        need = "[E, T+1, o], [E, T+1, a], [E, T+1]" if self.shifted else "[E, T+1, o], [E, T, a], [E, T]"
        if len(observations) == 3:
            e, t = observations[:2]
            steps = t if self.shifted else t - 1
            fits = len(actions) == 3 and actions[:2] == rewards == (e, steps) and t > 1
            lengths = np.full(e, t - 1)
        else:
            need = "[N + E, o], [N, a], [N] with lengths [E] or offsets [E + 1]"
            lengths = self._index()
            total = int(lengths.sum())
            fits = not self.shifted and len(observations) == len(actions) == 2 and bool((lengths > 0).all())
            fits = fits and (observations[0], actions[0], rewards) == (total + len(lengths), total, (total,))
        if shapes.get("terminations", rewards) != rewards:
            raise PWMError(f"{self.path}: terminations is {list(shapes['terminations'])}, need {list(rewards)}")
        if not fits or not len(lengths):
            listed = ", ".join(str(list(shape)) for shape in (observations, actions, rewards))
            raise PWMError(f"{self.path}: {', '.join(names)} are {listed}; need {need}")
        return lengths

    def _index(self) -> np.ndarray:
        name = "lengths" if "lengths" in self.arrays else "offsets"
        if name not in self.arrays:
            raise PWMError(f"{self.path}: flat arrays need lengths [E] or offsets [E + 1] to tell episodes apart")
        values = self.arrays[name].all()
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise PWMError(f"{self.path}: {name} must be whole numbers in one row")
        return values.astype(np.int64) if name == "lengths" else np.diff(values.astype(np.int64))

    def read(self) -> Iterator[dict[str, Any]]:
        """The arguments of `StoreWriter.add_episode` for each episode."""
        flat = len(self.columns["observations"].shape) == 2
        for e, steps in enumerate(self.lengths.tolist()):
            episode: dict[str, Any] = {}
            for name, column in self.columns.items():
                rows = column.rows(steps + (name == "observations")) if flat else column.rows(1)[0]
                episode[name] = rows[1:] if self.shifted and name != "observations" else rows
            if self.quality is not None:
                episode["quality"] = str(self.quality[e]) or None
            yield episode


class _Column:
    """One array of the archive, read sequentially."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, fortran, self.dtype = read(file)
        if fortran and len(self.shape) > 1 or self.dtype.hasobject:
            what = "holds an array of Python objects or in Fortran order"
            raise PWMError(f"{path}: {what}; save plain arrays in C order")

    def rows(self, count: int) -> np.ndarray:
        """The next rows [count, ...]."""
        shape = (count, *self.shape[1:])
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        try:
            data = self.file.read(size)
        except Exception as error:  # a damaged archive
            raise _damaged(self.path, error) from error
        if len(data) < size:
            raise _damaged(self.path, "an array ends early")
        return np.frombuffer(data, self.dtype).reshape(shape)

    def all(self) -> np.ndarray:
        """The whole array; only for small ones."""
        if int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize > _SMALL:
            raise PWMError(f"{self.path}: an index of {list(self.shape)} entries is too large; check the file")
        return self.rows(self.shape[0]) if self.shape else self.rows(1)


def _damaged(path: Path, error: object) -> PWMError:
    return PWMError(f"{path}: not a readable .npz file ({error}); check the path or make the file again")
