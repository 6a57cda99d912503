"""A store that grows while a policy acts, by sealed segments: each is an episode store in a folder of its own.

A segment is written under a hidden name and renamed when it is complete, so appending is atomic. Sealed segments never
change: `upto(k)` always gives the same episodes, and sampling from it is a pure function of (seed, step, segments).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pwm.data.manifest import ARRAYS, FORMAT, SIZES, VERSIONS, Manifest, sizes_of
from pwm.data.store import Episode, EpisodeStore, TaskEpisodes, open_store
from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.tasks.spec import TaskSpec

_SEGMENT, _UNFINISHED = "segment-", ".unfinished-"


class GrowingStore:
    """A folder of segments, whose episodes are also kept in memory.

    Args:
        path: folder of the segments, created by the first `append`.
        specs: the tasks, in the order of the store.
        base: a store whose episodes of these tasks come before those of all segments.

    Raises:
        PWMError: a segment is damaged or missing, or sizes of a task in a segment or in `base` differ from `specs`.
    """

    def __init__(self, path: PathLike, specs: Sequence[TaskSpec], base: EpisodeStore | None = None) -> None:
        self.path, self.specs = Path(path), {spec.id: spec for spec in specs}
        self._arrays = {task: {name: _Rows() for name in (*ARRAYS, "ends")} for task in self.specs}
        # After the base, and after each segment: episodes of each task so far, and the running fingerprint.
        self._marks: list[tuple[dict[str, int], str]] = []
        self._take(base)
        for number, folder in enumerate(sorted(self.path.glob(f"{_SEGMENT}*"))):
            if folder != self._folder(number):
                raise PWMError(f"{self._folder(number)}: missing, though there are later segments; put it back")
            self._take(open_store(folder, verify=True))

    @property
    def segments(self) -> int:
        """Number of sealed segments."""
        return len(self._marks) - 1

    def append(self, episodes: Mapping[str, Sequence[Episode]], source: str | None = None) -> None:
        """Write these episodes, by task, as one more segment; `source` describes in words where they come from.

        Raises:
            PWMError: a task is unknown, an episode does not fit its task, or the disk cannot be written to. No segment
                is added then.
        """
        unknown = [task for task in episodes if task not in self.specs]
        if unknown:
            raise PWMError(f"{self.path}: no task {unknown[0]!r} in this store; it has {', '.join(self.specs)}")
        folder = self._folder(self.segments)
        hidden = folder.with_name(f"{_UNFINISHED}{folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)  # of a killed writer
        with StoreWriter(hidden) as writer:
            for task, own in episodes.items():
                writer.add_task(task, **sizes_of(self.specs[task]), source=source)
                for episode in own:
                    writer.add_episode(task, *episode)
        os.rename(hidden, folder)
        self._take(open_store(folder))

    def episodes(self, task: str, segments: int | None = None) -> int:
        """Number of episodes of a task in the base and the first `segments` segments (all by default)."""
        return self._mark(segments)[0][task]

    def upto(self, segments: int | None = None) -> EpisodeStore:
        """The base and the first `segments` segments (all by default) as one store, newest episodes last.

        Raises:
            PWMError: a task has no episode yet, or there are fewer segments.
        """
        counts, fingerprint = self._mark(segments)
        empty = [task for task, count in counts.items() if not count]
        if empty:
            raise PWMError(f"{self.path}: task {empty[0]} has no episodes yet; append some first")
        views = {task: self._task(task, counts[task]) for task in self.specs}
        return EpisodeStore(self.path, Manifest(FORMAT, VERSIONS[0], ()), views, fingerprint)

    def newest(self, task: str, segments: int, count: int) -> list[Episode]:
        """The last `count` episodes of a task in the base and the first `segments` segments."""
        data = self.upto(segments)[task]
        found = []
        for e in range(len(data.lengths) - count, len(data.lengths)):
            first, last = data.offsets[e], data.offsets[e + 1]
            observations = data.observations[first + e : last + e + 1]
            found.append(Episode(observations, *(getattr(data, name)[first:last] for name in Episode._fields[1:])))
        return found

    def _mark(self, segments: int | None) -> tuple[dict[str, int], str]:
        if segments is not None and not 0 <= segments <= self.segments:
            raise PWMError(f"{self.path}: has {self.segments} segments, not {segments}")
        return self._marks[-1 if segments is None else segments]

    def _folder(self, number: int) -> Path:
        return self.path / f"{_SEGMENT}{number:06d}"

    def _take(self, store: EpisodeStore | None) -> None:
        """Copy the episodes of one more store into memory."""
        counts, before = self._marks[-1] if self._marks else (dict.fromkeys(self.specs, 0), "")
        counts, theirs = dict(counts), "" if store is None else store.fingerprint()
        for task in (task for task in (store.tasks if store else ()) if task in self.specs):
            data, arrays = store[task], self._arrays[task]
            _check_sizes(store.path, self.specs[task], data)
            arrays["ends"].extend(data.offsets[1:] + len(arrays["rewards"].filled))
            for name in ARRAYS:
                arrays[name].extend(getattr(data, name))
            counts[task] += len(data.lengths)
        self._marks.append((counts, hashlib.sha256(f"{before} {theirs}".encode()).hexdigest()))

    def _task(self, task: str, episodes: int) -> TaskEpisodes:
        arrays = self._arrays[task]
        offsets = np.concatenate(([0], arrays["ends"].filled[:episodes]))
        rows = dict.fromkeys(ARRAYS, int(offsets[-1])) | {"observations": int(offsets[-1]) + episodes}
        views = {name: arrays[name].filled[: rows[name]] for name in ARRAYS}
        return TaskEpisodes(id=task, **views, offsets=offsets, **sizes_of(self.specs[task]))


class _Rows:
    """An array that grows by rows, in amortised constant time per row."""

    def __init__(self) -> None:
        self._array, self._used = np.empty(0), 0

    @property
    def filled(self) -> np.ndarray:
        """The rows so far; arrays returned earlier do not change."""
        return self._array[: self._used]

    def extend(self, rows: np.ndarray) -> None:
        needed = self._used + len(rows)
        if needed > len(self._array):
            array = np.empty((max(needed, 2 * len(self._array)), *rows.shape[1:]), rows.dtype)
            if self._used:
                array[: self._used] = self.filled
            self._array = array
        self._array[self._used : needed] = rows
        self._used = needed


def _check_sizes(path: Path, spec: TaskSpec, data: TaskEpisodes) -> None:
    for name in SIZES:
        if getattr(data, name) != getattr(spec, name):
            differs = f"task {spec.id} has {name} {getattr(data, name)} there, but {getattr(spec, name)} here"
            raise PWMError(f"{path}: {differs}; use data of the same task and settings")
