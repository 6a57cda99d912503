"""Converts TD-MPC2's multi-task data (MT30, MT80), chunk by chunk, to an episode store.

A chunk is a pickled TensorDict of n episodes of T rows: `obs` [n, T, O], `action` [n, T, A], `reward` [n, T] and `task`
[n, T], the position in the task set; obs and action are padded to the widest task. Row t holds the observation at step
t and the action and reward that LED to it. So action and reward of row 0 are filler (NaN or uninitialised memory) and
are dropped. Chunks are read in blocks, so memory use does not grow with their size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pwm.data.manifest import sizes_of
from pwm.data.tensor_file import StoredTensor, TensorFile
from pwm.data.writer import StoreWriter, WrongEpisode, check_space
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.progress import progress
from pwm.tasks.registry import task_set
from pwm.tasks.spec import TaskSpec

FIELDS = {"obs": 3, "action": 3, "reward": 2, "task": 2}
KNOWN = {(501, 24): "mt30", (101, 39): "mt80"}  # (rows per episode, width of obs) -> published task set
_BLOCK = 16 << 20  # bytes per read


class Chunk(NamedTuple):
    """One open chunk file and its tensors; `widths` are those of observation and action, padded."""

    path: Path
    tensors: dict[str, StoredTensor]
    episodes: int
    rows: int
    widths: tuple[int, int]


class Imported(NamedTuple):
    """What an import wrote: number of episodes by task, and how many damaged ones were skipped."""

    episodes: dict[str, int]
    skipped: int = 0


def import_tdmpc2(
    paths: Sequence[PathLike],
    out: PathLike,
    set_name: str | None = None,
    tasks: Sequence[str] | None = None,
    quality: str | None = None,
    skip_damaged: bool = False,
    any_padding: bool = False,
) -> Imported:
    """Write the store `out` from chunk files, or folders of `chunk_*.pt`.

    Args:
        set_name: the task set that `task` indexes; by default the published one with these sizes.
        tasks: ids of the tasks to import; all by default. Data of others are not read.
        quality: a tag for all episodes.
        skip_damaged: skip episodes with NaN or with actions outside [-1, 1], instead of raising.
        any_padding: accept observations with non-zero padding, and cut it off.

    Raises:
        PWMError: a file is missing, truncated or malicious; a task is unknown; sizes do not match the task set; the
            disk is too small. No store is left behind.
    """
    with ExitStack() as stack:
        chunks = [_open(path, stack) for path in chunk_files(paths)]
        specs = _specs(chunks, set_name)
        chosen = _chosen(specs, tasks)
        kinds = _scan(chunks, len(specs))
        count = {k: sum(int((kind == k).sum()) for kind in kinds) for k in chosen}
        missing = [specs[k].id for k in chosen if tasks is not None and not count[k]]
        if missing:
            raise PWMError(f"{chunks[0].path}: no episode of task {missing[0]} in these {len(chunks)} file(s)")
        chosen = [k for k in chosen if count[k]]
        if not chosen:
            raise PWMError(f"{chunks[0].path}: holds no episode; check the file")
        steps = chunks[0].rows - 1
        check_space(out, sum(count[k] * (steps + 1) * 4 * (sum(_sizes(specs[k])) + 2) for k in chosen))
        with StoreWriter(out) as writer:
            for k in chosen:
                source = f"TD-MPC2 multi-task data, {len(chunks)} chunk file(s), task {k}"
                writer.add_task(specs[k].id, **sizes_of(specs[k]), source=source)
            copy = _Copy(writer, specs, quality, skip_damaged, any_padding)
            with progress("Episodes", sum(count.values())) as bar:
                for chunk, kind in zip(chunks, kinds, strict=True):
                    for first, last in _runs(np.isin(kind, chosen), _BLOCK // chunk.tensors["obs"].row_bytes):
                        copy.block(chunk, kind, first, last)
                        bar.advance(last - first)
            writer.close(show=True)
    return Imported({specs[k].id: count[k] - copy.skipped[k] for k in chosen}, copy.skipped.total())


def chunk_files(paths: Sequence[PathLike]) -> list[Path]:
    """The given files, and the `chunk_*.pt` of given folders by number. Raises PWMError if there are none."""
    files = []
    for path in map(Path, paths):
        found = [path]
        if path.is_dir():
            numbered = [(int(m[1]), p) for p in path.glob("chunk_*.pt") if (m := re.fullmatch(r"chunk_(\d+)", p.stem))]
            found = [p for _, p in sorted(numbered)]
            if not found:
                raise PWMError(f"{path}: holds no chunk_*.pt; name the folder of the chunks, or the files themselves")
        files += found
    if not files or len(set(files)) < len(files):
        raise PWMError("name at least one chunk file, and each once")
    return files


def _open(path: Path, stack: ExitStack) -> Chunk:
    tensors = stack.enter_context(TensorFile(path)).fields(tuple(FIELDS))
    shapes = {name: tensors[name].shape for name in FIELDS}
    leading = {shape[:2] for shape in shapes.values()}
    if any(len(shapes[name]) != axes for name, axes in FIELDS.items()) or len(leading) != 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise PWMError(f"{path}: {listed}; need obs [n, T, O], action [n, T, A], reward [n, T], task [n, T]")
    if [tensors[name].dtype.kind for name in FIELDS] != ["f", "f", "f", "i"]:
        kinds = ", ".join(f"{name} {tensors[name].dtype}" for name in FIELDS)
        raise PWMError(f"{path}: {kinds}; need whole numbers for task, and real ones for the others")
    if shapes["obs"][1] < 2:
        raise PWMError(f"{path}: episodes have {shapes['obs'][1]} row(s), need two at least")
    return Chunk(path, tensors, *shapes["obs"][:2], (shapes["obs"][2], shapes["action"][2]))


def _specs(chunks: Sequence[Chunk], set_name: str | None) -> tuple[TaskSpec, ...]:
    """The tasks by position; checks that the sizes of all chunks fit them."""
    rows, (o, a) = chunks[0].rows, chunks[0].widths
    for chunk in chunks:
        if (chunk.rows, chunk.widths) != (rows, (o, a)):
            raise PWMError(f"{chunk.path}: other sizes than {chunks[0].path}; import data of different sets apart")
    name = set_name or KNOWN.get((rows, o))
    if name is None:
        known = ", ".join(f"{name} has {t} and {w}" for (t, w), name in KNOWN.items())
        raise PWMError(f"{chunks[0].path}: {rows} rows and {o} observations fit no known set ({known}); add --task-set")
    specs = task_set(name)
    for spec in specs:
        if rows - 1 > spec.episode_length:
            most = f"{spec.id} of {name} has at most {spec.episode_length}; choose another --task-set"
            raise PWMError(f"{chunks[0].path}: episodes have {rows - 1} steps, but {most}")
        if spec.observation_dim > o or spec.action_dim > a:
            needs = f"{spec.id} of {name} has {spec.observation_dim} and {spec.action_dim}; choose another --task-set"
            raise PWMError(f"{chunks[0].path}: holds {o} observations and {a} actions, but {needs}")
    return specs


def _chosen(specs: Sequence[TaskSpec], tasks: Sequence[str] | None) -> list[int]:
    ids = [spec.id for spec in specs]
    for task in tasks or ():
        if task not in ids:
            raise PWMError(f"task {task}: not in this task set, which has {', '.join(ids)}")
    return [k for k, id in enumerate(ids) if tasks is None or id in tasks]


def _scan(chunks: Sequence[Chunk], tasks: int) -> list[np.ndarray]:
    """The task of every episode of every chunk, int64 [n] each."""
    kinds = []
    with progress("Scan", sum(chunk.episodes for chunk in chunks)) as bar:
        for chunk in chunks:
            column, found = chunk.tensors["task"], np.empty(chunk.episodes, np.int64)
            for first, last in _runs(np.ones(chunk.episodes, bool), _BLOCK // column.row_bytes):
                block = column.rows(first, last)
                wrong = (block != block[:, :1]).any(1) | (block[:, 0] < 0) | (block[:, 0] >= tasks)
                if wrong.any():
                    row = int(wrong.argmax())
                    need = f"a number from 0 to {tasks - 1}; choose another --task-set, or copy the file again"
                    values = np.unique(block[row])[:5].tolist()
                    raise PWMError(f"{chunk.path}: episode {first + row} has task {values}, need {need}")
                found[first:last] = block[:, 0]
                bar.advance(last - first)
            kinds.append(found)
    return kinds


def _runs(wanted: np.ndarray, longest: int) -> Iterator[tuple[int, int]]:
    """(first, last) of consecutive wanted rows, at most `longest` (at least 1) at a time."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted, [False]))))
    for first, last in edges.reshape(-1, 2).tolist():
        for start in range(first, last, max(1, longest)):
            yield start, min(start + max(1, longest), last)


def _sizes(spec: TaskSpec) -> tuple[int, int]:
    return spec.observation_dim, spec.action_dim


class _Copy:
    """Cuts blocks of a chunk into episodes, without padding."""

    def __init__(
        self, writer: StoreWriter, specs: Sequence[TaskSpec], quality: str | None, skip: bool, any_padding: bool
    ) -> None:
        self.writer, self.specs, self.quality, self.skip, self.any_padding = writer, specs, quality, skip, any_padding
        self.skipped = Counter[int]()

    def block(self, chunk: Chunk, kinds: np.ndarray, first: int, last: int) -> None:
        observations, actions, rewards = (chunk.tensors[name].rows(first, last) for name in ("obs", "action", "reward"))
        for i, k in enumerate(kinds[first:last].tolist()):
            spec, where = self.specs[k], f"{chunk.path}, episode {first + i}"
            o, a = _sizes(spec)
            if not self.any_padding and observations[i, :, o:].any():
                cure = "choose another --task-set, or accept them with --any-padding"
                raise PWMError(f"{where}: {spec.id} has {o} observations, but the entries beyond are not zero; {cure}")
            try:
                self.writer.add_episode(
                    spec.id, observations[i, :, :o], actions[i, 1:, :a], rewards[i, 1:], quality=self.quality
                )
            except WrongEpisode as error:
                if not self.skip:
                    raise PWMError(f"{where} ({error}), or add --skip-damaged") from error
                self.skipped[k] += 1
