"""The episode store: logged experience on disk, opened as memory-mapped arrays.

Layout, per task: `observations.npy` float32 [transitions + episodes, o], `actions.npy` float32 [transitions, a],
`rewards.npy` float32 [transitions], `terminations.npy` bool [transitions], `offsets.npy` int64 [episodes + 1].
Episode e owns transitions offsets[e]:offsets[e + 1] and has one more observation than actions (as in Gymnasium and
Minari), so the observation before transition i of episode e is row i + e, the one after it row i + e + 1. Stores with
quality tags also have `quality.npy` uint8 [episodes], positions in the manifest's `qualities`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pwm.data.manifest import ARRAYS, MANIFEST, UNTAGGED, Manifest, TaskEntry, array_shapes, read_manifest, sizes_of
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, sha256

_ROWS_PER_CHECK = 1 << 20


class Episode(NamedTuple):
    """One episode of T steps, as `StoreWriter.add_episode` takes it."""

    observations: np.ndarray  # float32 [T + 1, o]
    actions: np.ndarray  # float32 [T, a], in [-1, 1]
    rewards: np.ndarray  # float32 [T]
    terminations: np.ndarray  # bool [T], true at most at the end


@dataclass(frozen=True, eq=False)
class TaskEpisodes:
    """The episodes of one task, as read-only views of files; shapes as in the module's docstring, without padding."""

    id: str
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    offsets: np.ndarray
    observation_dim: int
    action_dim: int
    episode_length: int
    action_repeat: int
    quality: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Number of transitions of each episode, int64 [episodes]."""
        return np.diff(self.offsets)

    def episode(self, e: int) -> Episode:
        """Episode `e`, as views."""
        first, last = int(self.offsets[e]), int(self.offsets[e + 1])
        steps = slice(first, last)
        observations = self.observations[first + e : last + e + 1]
        return Episode(observations, self.actions[steps], self.rewards[steps], self.terminations[steps])


class EpisodeStore:
    """An open store, made by `open_store`. `store[task]` gives the `TaskEpisodes` of a task.

    Attributes: `path`; `manifest`; `tasks`, the ids in order (a task's index is its position here);
    `observation_dim` and `action_dim`, the maxima over these tasks.
    """

    def __init__(
        self, path: Path, manifest: Manifest, episodes: dict[str, TaskEpisodes], fingerprint: str | None = None
    ) -> None:
        self.path, self.manifest, self._fingerprint = path, manifest, fingerprint
        self.tasks = tuple(episodes)
        self.observation_dim = max(task.observation_dim for task in episodes.values())
        self.action_dim = max(task.action_dim for task in episodes.values())
        self._episodes = episodes

    def __getitem__(self, task: str) -> TaskEpisodes:
        if task not in self._episodes:
            raise _unknown_task(task, self.tasks, self.path)
        return self._episodes[task]

    def returns(self, task: str) -> np.ndarray:
        """Undiscounted return of each episode, float32 [episodes]."""
        episodes = self[task]
        return np.add.reduceat(episodes.rewards, episodes.offsets[:-1], dtype=np.float64).astype(np.float32)

    def quality(self, task: str) -> np.ndarray:
        """The tag of each episode, str [episodes]; empty for none."""
        codes = self[task].quality
        if codes is None:
            return np.full(len(self[task].lengths), "")
        names = np.array([*self.manifest.qualities, ""])
        return names[np.where(codes == UNTAGGED, len(names) - 1, codes)]

    def fingerprint(self) -> str:
        """Hexadecimal hash of the manifest, and thereby (it holds checksums) of every byte of the store."""
        return self._fingerprint or sha256(self.path / MANIFEST)


def sample_store_path() -> Path:
    """Folder of the bundled episode store: four dm_control tasks, 100 episodes each (see CARD.md in it)."""
    return Path(__file__).parent / "sample"


def open_store(path: PathLike, tasks: Sequence[str] | None = None, verify: bool = False) -> EpisodeStore:
    """Open the store in the folder `path`, with all its tasks or only `tasks` (in that order).

    Manifest, shapes, dtypes, file sizes and offsets are always checked. `verify=True` reads everything once and also
    checks checksums, that all numbers are finite, and that episodes terminate only at their last step.

    Raises:
        PWMError: the store is missing, damaged or inconsistent, or has no such task; the message names the file.
    """
    return open_with(read_manifest(path), path, tasks, verify)


def open_with(
    manifest: Manifest, path: PathLike, tasks: Sequence[str] | None = None, verify: bool = False
) -> EpisodeStore:
    """`open_store` with a manifest that has been read already."""
    path = Path(path)
    entries = {entry.id: entry for entry in manifest.tasks}
    wanted = tuple(entries) if tasks is None else tuple(dict.fromkeys(tasks))
    if not wanted:
        raise PWMError(f"{path}: no task chosen; name at least one of {', '.join(entries)}")
    for task in wanted:
        if task not in entries:
            raise _unknown_task(task, tuple(entries), path)
    opened = {task: _open_task(path / task, entries[task], len(manifest.qualities)) for task in wanted}
    if verify:
        for task, episodes in opened.items():
            _verify(path / task, entries[task], episodes)
    return EpisodeStore(path, manifest, opened)


def _unknown_task(task: str, known: Sequence[str], path: Path) -> PWMError:
    close = difflib.get_close_matches(task, known, n=1)
    hint = f"did you mean {close[0]}? it has" if close else "it has"
    return PWMError(f"{path}: no task {task!r} in this store; {hint} {', '.join(known)}")


def _open_task(folder: Path, entry: TaskEntry, qualities: int) -> TaskEpisodes:
    shapes = array_shapes(entry)
    arrays = {name: _open_array(folder / f"{name}.npy", shapes[name], dtype) for name, dtype in ARRAYS.items()}
    offsets = np.array(_open_array(folder / "offsets.npy", shapes["offsets"], "int64"))
    if offsets[0] != 0 or offsets[-1] != entry.transitions or (np.diff(offsets) < 1).any():
        raise PWMError(f"{folder / 'offsets.npy'}: must rise from 0 to {entry.transitions}; write the store again")
    quality = None
    if "quality.npy" in entry.files:
        quality = np.array(_open_array(folder / "quality.npy", shapes["quality"], "uint8"))
        if ((quality >= qualities) & (quality != UNTAGGED)).any():
            raise PWMError(f"{folder / 'quality.npy'}: must count in the manifest's qualities; write the store again")
    return TaskEpisodes(id=entry.id, **arrays, quality=quality, offsets=offsets, **sizes_of(entry))


def _open_array(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Memory-map a .npy file after checking its header and size against the manifest."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # of .npy only: neither pickles nor zip archives
    except FileNotFoundError as error:
        raise PWMError(f"{path}: no such file, though the manifest lists it; copy or write the store again") from error
    except (OSError, ValueError, OverflowError) as error:
        cure = "it is truncated or damaged, copy or write the store again"
        raise PWMError(f"{path}: not a readable .npy file ({error}); {cure}") from error
    if array.dtype != np.dtype(dtype) or array.shape != shape or not array.flags.c_contiguous:
        found = f"{array.dtype} {list(array.shape)}"
        raise PWMError(f"{path}: is {found}, but the manifest needs {dtype} {list(shape)}; write the store again")
    if path.stat().st_size != array.offset + array.nbytes:
        raise PWMError(f"{path}: the file is longer than its header says; copy or write the store again")
    return np.asarray(array)


def _verify(folder: Path, entry: TaskEntry, episodes: TaskEpisodes) -> None:
    for name in (*ARRAYS, "offsets", *(["quality"] if episodes.quality is not None else [])):
        path = folder / f"{name}.npy"
        if path.name not in entry.files:
            raise PWMError(f"{path}: the manifest has no checksum for it; write the store again")
        if sha256(path) != entry.files[path.name].sha256:
            raise PWMError(f"{path}: wrong checksum, the file changed after it was written; copy or write it again")
    for name in ("observations", "actions", "rewards"):
        array = getattr(episodes, name)
        for start in range(0, len(array), _ROWS_PER_CHECK):
            part = array[start : start + _ROWS_PER_CHECK]
            if not np.isfinite(part).all():
                row = start + int(np.nonzero(~np.isfinite(part))[0][0])
                starts = episodes.offsets + (np.arange(len(episodes.offsets)) if name == "observations" else 0)
                episode = int(np.searchsorted(starts, row, side="right")) - 1
                place = f"{folder / name}.npy: row {row} (task {entry.id}, episode {episode})"
                raise PWMError(f"{place} holds NaN or infinity; leave that episode out and write the store again")
    inside = np.array(episodes.terminations)
    inside[episodes.offsets[1:] - 1] = False
    if inside.any():
        row = int(inside.argmax())
        raise PWMError(f"{folder / 'terminations.npy'}: row {row} terminates inside an episode; write the store again")
