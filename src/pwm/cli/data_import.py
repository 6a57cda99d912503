"""`pwm data import ...` and `pwm data export minari`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.cli.parse import parse
from pwm.runtime.errors import PWMError


@dataclass(frozen=True)
class TDMPC2:
    """TD-MPC2's multi-task data into an episode store.

    Chunks are read in blocks, so memory does not grow with them. They are pickles, and nothing in them is executed:
    a file that asks for more than tensors is refused. Of --tasks alone only those tasks' episodes are read. A killed
    import leaves no store; the same command starts over."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Chunk files, or folders of chunk_*.pt."""
    out: Path
    """Folder of the new episode store."""
    task_set: str | None = None
    """What the numbers in the chunks count in: mt30, mt80 or a set of your own; none tells it from the sizes."""
    tasks: tuple[str, ...] = ()
    """Tasks to take; none means all that occur."""
    quality: str | None = None
    """Tag for all episodes, such as random, medium or expert."""
    skip_damaged: bool = False
    """Leave out episodes with NaN or with actions outside [-1, 1]; they are an error otherwise."""
    any_padding: bool = False
    """Accept observations that are not zero beyond the task's own size, and cut them off."""


def tdmpc2(arguments: Sequence[str]) -> int:
    args = parse(TDMPC2, "data import tdmpc2", arguments)

    from pwm.data.tdmpc2 import import_tdmpc2

    done = import_tdmpc2(
        args.files, args.out, args.task_set, args.tasks or None, args.quality, args.skip_damaged, args.any_padding
    )
    skipped = f", {done.skipped} damaged ones left out" if done.skipped else ""
    print(f"{sum(done.episodes.values())} episodes of {len(done.episodes)} tasks in {args.out}{skipped}.")
    return _next(args.out)


@dataclass(frozen=True)
class NPZ:
    """Recordings into an episode store, one .npz file per task.

    A file holds obs [E, T+1, o], action [E, T+1, a] and reward [E, T+1], where row t has the action and reward that
    led TO observation t (row 0 of both is dropped); or observations [E, T+1, o], actions [E, T, a], rewards [E, T]; or
    the same flat, with lengths [E]. Optional: terminations, and quality [E]."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """The files."""
    out: Path
    """Folder of the new episode store."""
    tasks: tuple[str, ...] = ()
    """Task of each file; none takes the files' names."""
    action_repeat: int = 2
    """Simulator steps per recorded step."""
    source: str | None = None
    """Where the data come from, in words."""
    quality: str | None = None
    """Tag for all episodes, such as random, medium or expert."""


def npz(arguments: Sequence[str]) -> int:
    args = parse(NPZ, "data import npz", arguments)

    from pwm.data.convert import store_from_npz

    tasks = args.tasks or tuple(path.stem for path in args.files)
    if len(tasks) != len(args.files) or len(set(tasks)) < len(tasks):
        raise PWMError(f"--tasks names {len(tasks)} tasks for {len(args.files)} files; need one task per file")
    files = dict(zip(tasks, args.files, strict=True))
    store_from_npz(files, args.out, args.action_repeat, args.source, args.quality)
    return _next(args.out)


def _next(out: Path) -> int:
    print(f"Next: pwm data inspect {out}")
    return 0
