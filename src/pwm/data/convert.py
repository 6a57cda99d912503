"""Converts .npz recordings to an episode store, one episode at a time: memory use does not grow with the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pwm.data.episode_flags import flags, termination_flags
from pwm.data.npz_file import open_columns
from pwm.data.writer import StoreWriter, WrongEpisode, check_space
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.progress import progress

_SHIFTED = ("obs", "action", "reward")
_PLAIN = ("observations", "actions", "rewards")
_INDEX = ("lengths", "offsets")


def store_from_npz(
    files: Mapping[str, PathLike],
    out: PathLike,
    action_repeat: int = 1,
    source: str | None = None,
    quality: str | None = None,
    skip_damaged: bool = False,
    ignore: Collection[str] = (),
) -> int:
    """Write the store `out` from one .npz file per task; returns how many damaged episodes were skipped.

    Each file has one of these sets of arrays:

    * `obs` [E, T+1, o], `action` [E, T+1, a], `reward` [E, T+1], the row order of TD-MPC2's data: row t holds the
      observation at step t and the action and reward that LED to it, so row 0 of action and reward is filler and is
      dropped;
    * `observations` [E, T+1, o], `actions` [E, T, a], `rewards` [E, T], the order of Gymnasium and of the store;
    * `observations` [N + E, o], `actions` [N, a], `rewards` [N], and `lengths` [E] or `offsets` [E + 1]: the same for
      episodes of different lengths, concatenated.

    Optional, with the shape (and shift) of the rewards: `terminations` and `truncations`, by any of their usual names
    (see `episode_flags`); without them all episodes count as truncated. `quality` [E], text, or the argument `quality`
    for all. `source` goes into the manifest.

    Args:
        skip_damaged: skip episodes with NaN or with actions outside [-1, 1], instead of raising.
        ignore: names of arrays to leave out; any other that is not known is an error.

    Raises:
        PWMError: a file is missing or damaged, lacks an array, or holds arrays that do not fit together or are unknown.
    """
    skipped = 0
    with ExitStack() as stack:
        recordings = {task: _Recording(Path(path), stack, ignore) for task, path in files.items()}
        check_space(out, sum(recording.size for recording in recordings.values()))
        with StoreWriter(out) as writer, progress("Episodes", sum(r.episodes for r in recordings.values())) as bar:
            for task, recording in recordings.items():
                writer.add_task(task, *recording.widths, recording.longest, action_repeat, source)
                for number, episode in enumerate(recording.read()):
                    try:
                        writer.add_episode(task, **{"quality": quality} | episode)
                    except WrongEpisode as error:
                        if not skip_damaged:
                            raise PWMError(
                                f"{recording.path}, episode {number} ({error}), or add --skip-damaged"
                            ) from error
                        skipped += 1
                    bar.advance()
    return skipped


class _Recording:
    """One open file: its arrays, and an iterator over its episodes."""

    def __init__(self, path: Path, stack: ExitStack, ignored: Collection[str]) -> None:
        self.path = path
        self.arrays = {name: column for name, column in open_columns(path, stack).items() if name not in ignored}
        self.shifted = "obs" in self.arrays
        names = _SHIFTED if self.shifted else _PLAIN
        for name in names:
            if name not in self.arrays:
                listed = ", ".join(names)
                raise PWMError(
                    f"{path}: {name} is not in the file; it needs {listed} (docs/formats.md has all layouts)"
                )
        self.columns = {plain: self.arrays[name] for plain, name in zip(_PLAIN, names, strict=True)}
        self.columns |= flags(path, self.arrays)
        self._refuse_unknown(names)
        for column in self.columns.values():
            column.require("biuf", "real numbers")
        self.lengths = self._lengths(names)
        self.episodes, self.longest = len(self.lengths), int(self.lengths.max())
        self.widths = self.columns["observations"].shape[-1], self.columns["actions"].shape[-1]
        self.size = int(self.lengths.sum() + self.episodes) * (sum(self.widths) + 2) * 4  # of the store, in bytes
        self.quality = self.arrays["quality"].all("U", "text") if "quality" in self.arrays else None
        if self.quality is not None and self.quality.shape != (self.episodes,):
            raise PWMError(f"{path}: quality must be text [{self.episodes}], one tag per episode")

    def _refuse_unknown(self, names: tuple[str, ...]) -> None:
        known = {*names, *_INDEX, "quality", *(column.name for column in self.columns.values())}
        for name in self.arrays:
            if name in _PLAIN and self.shifted or name in _SHIFTED and not self.shifted:
                raise PWMError(f"{self.path}: has {names[0]} and {name}, of two layouts; leave one of them out")
            if name == "next_observations":
                cure = "give observations the last one of each episode as well, one row more than actions"
                raise PWMError(f"{self.path}: {name} is not read; {cure}, and add --ignore {name}")
            if name not in known:
                raise PWMError(
                    f"{self.path}: {name} is not an array that is known (docs/formats.md has all); "
                    f"rename it, or leave it out with --ignore {name}"
                )

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
            fits = fits and all(np.array_equal(found, lengths) for found in self._indices().values())
            need += " (and no lengths or offsets, or those)"
        else:
            need = "[N + E, o], [N, a], [N] with lengths [E] or offsets [E + 1]"
            lengths = self._index()
            total = int(lengths.sum())
            fits = not self.shifted and len(observations) == len(actions) == 2
            fits = fits and (observations[0], actions[0], rewards) == (total + len(lengths), total, (total,))
        for name, shape in shapes.items():
            if name not in _PLAIN and shape != rewards:
                raise PWMError(f"{self.path}: {self.columns[name].name} is {list(shape)}, need {list(rewards)}")
        if not fits or not len(lengths):
            listed = ", ".join(str(list(shape)) for shape in (observations, actions, rewards))
            raise PWMError(f"{self.path}: {', '.join(names)} are {listed}; need {need}")
        return lengths

    def _index(self) -> np.ndarray:
        """Steps of each episode [E], as `lengths` or `offsets` say it."""
        found = self._indices()
        if not found:
            raise PWMError(f"{self.path}: flat arrays need lengths [E] or offsets [E + 1] to tell episodes apart")
        if len(found) == 2 and not np.array_equal(*found.values()):
            raise PWMError(f"{self.path}: lengths and offsets do not agree; leave out the wrong one")
        name, lengths = next(iter(found.items()))
        for e in np.flatnonzero(lengths < 1)[:1]:
            raise PWMError(f"{self.path}: {name}: episode {e} has {lengths[e]} steps, must have 1 or more")
        return lengths

    def _indices(self) -> dict[str, np.ndarray]:
        found = {}
        for name in _INDEX:
            if name in self.arrays:
                values = self.arrays[name].all("iu", "whole numbers")
                if values.ndim != 1:
                    raise PWMError(f"{self.path}: {name} must be whole numbers in one row")
                found[name] = values.astype(np.int64)
        if "offsets" in found:
            if len(found["offsets"]) and found["offsets"][0] != 0:
                raise PWMError(f"{self.path}: offsets start at {found['offsets'][0]}, must start at 0")
            found["offsets"] = np.diff(found["offsets"])
        return found

    def read(self) -> Iterator[dict[str, Any]]:
        """The arguments of `StoreWriter.add_episode` for each episode."""
        flat = len(self.columns["observations"].shape) == 2
        for e, steps in enumerate(self.lengths.tolist()):
            episode: dict[str, Any] = {}
            for name, column in self.columns.items():
                rows = column.rows(steps + (name == "observations")) if flat else column.rows(1)[0]
                episode[name] = rows[1:] if self.shifted and name != "observations" else rows
            ended = {name: episode.pop(name) for name in list(episode) if name not in _PLAIN}
            episode |= termination_flags(ended, f"{self.path}, episode {e}")
            if self.quality is not None:
                episode["quality"] = str(self.quality[e]) or None
            yield episode
