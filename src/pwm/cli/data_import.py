"""`pwm data import ...` and `pwm data export minari`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.cli.parse import Several, counted, parse
from pwm.runtime.errors import PWMError
from pwm.runtime.ranges import Few


@dataclass(frozen=True)
class TDMPC2:
    """Convert TD-MPC2's multi-task data to an episode store.

    Chunks are read in blocks, so memory use does not grow with their size. They are pickles, but nothing in them is
    executed: a file that holds more than tensors is refused. With --tasks only the episodes of these tasks are read. A
    killed import leaves no store; the same command starts over."""

    files: Several[tuple[Path, ...]]
    """Chunk files, or folders of chunk_*.pt."""
    out: Path
    """Folder of the new episode store."""
    task_set: str | None = None
    """Task set that the task numbers in the chunks refer to: mt30, mt80 or your own; none infers it from the sizes."""
    tasks: tuple[str, ...] = ()
    """Tasks to import; none means all."""
    quality: str | None = None
    """Quality tag for all episodes, such as random, medium or expert."""
    skip_damaged: bool = False
    """Skip episodes with NaN or with actions outside [-1, 1]; otherwise they are an error."""
    any_padding: bool = False
    """Accept observations with non-zero padding, and cut it off."""


def tdmpc2(arguments: Sequence[str]) -> int:
    args = parse(TDMPC2, "data import tdmpc2", arguments)

    from pwm.data.tdmpc2 import import_tdmpc2

    done = import_tdmpc2(
        args.files, args.out, args.task_set, args.tasks or None, args.quality, args.skip_damaged, args.any_padding
    )
    skipped = f", {done.skipped} damaged ones left out" if done.skipped else ""
    episodes, tasks = counted(sum(done.episodes.values()), "episode"), counted(len(done.episodes), "task")
    print(f"{episodes} of {tasks} in {args.out}{skipped}.")
    return _next(args.out)


@dataclass(frozen=True)
class NPZ:
    """Convert recordings to an episode store, one .npz file per task.

    A file holds obs [E, T+1, o], action [E, T+1, a] and reward [E, T+1], where row t has the action and reward that
    led TO observation t (row 0 of both is dropped); or observations [E, T+1, o], actions [E, T, a], rewards [E, T]; or
    the same concatenated, with lengths [E]. Optional: terminations, truncations, and quality [E]. An array that is not
    known is an error."""

    files: Several[tuple[Path, ...]]
    """The files."""
    out: Path
    """Folder of the new episode store."""
    tasks: tuple[str, ...] = ()
    """Task of each file; none means the files' names."""
    action_repeat: Few = 1
    """Simulator steps per recorded step."""
    source: str | None = None
    """Description of where the data come from."""
    quality: str | None = None
    """Quality tag for all episodes, such as random, medium or expert."""
    skip_damaged: bool = False
    """Skip episodes with NaN or with actions outside [-1, 1]; otherwise they are an error."""
    ignore: tuple[str, ...] = ()
    """Arrays to leave out."""


def npz(arguments: Sequence[str]) -> int:
    args = parse(NPZ, "data import npz", arguments)

    from pwm.data.convert import store_from_npz

    tasks = args.tasks or tuple(path.stem for path in args.files)
    if len(tasks) != len(args.files) or len(set(tasks)) < len(tasks):
        raise PWMError(f"--tasks names {len(tasks)} tasks for {len(args.files)} files; need one task per file")
    files = dict(zip(tasks, args.files, strict=True))
    skipped = store_from_npz(
        files, args.out, args.action_repeat, args.source, args.quality, args.skip_damaged, args.ignore
    )
    if skipped:
        print(f"{counted(skipped, 'damaged episode')} left out.")
    return _next(args.out)


@dataclass(frozen=True)
class Minari:
    """Convert Minari datasets to an episode store, one dataset per task.

    Actions are rescaled from their bounds to [-1, 1]; observations in a Dict or Tuple space are flattened in the order
    of the space. Needs pip install 'pwm[minari]'. Nothing is downloaded without --download."""

    datasets: Several[tuple[str, ...]]
    """Folders of datasets, or names of local ones, such as mujoco/ant/expert-v0."""
    out: Path
    """Folder of the new episode store."""
    tasks: tuple[str, ...] = ()
    """Task of each dataset; none means what pwm data export recorded, or else the datasets' names."""
    download: bool = False
    """Download datasets that are not found locally."""
    action_repeat: Few | None = None
    """Simulator steps per recorded step; none means what pwm data export recorded, or else 1."""
    quality: str | None = None
    """Quality tag for episodes that have none."""
    skip_damaged: bool = False
    """Skip episodes with NaN or with actions outside their space; otherwise they are an error."""


def minari(arguments: Sequence[str]) -> int:
    args = parse(Minari, "data import minari", arguments)

    from pwm.data.minari_import import store_from_minari, task_of

    tasks = args.tasks or tuple(f"?{task_of(name)}" for name in args.datasets)
    if not args.datasets or len(tasks) != len(args.datasets) or len(set(tasks)) < len(tasks):
        raise PWMError(
            f"{len(tasks)} task names for {len(args.datasets)} datasets; name each, and its task with --tasks"
        )
    sources = dict(zip(tasks, args.datasets, strict=True))
    skipped = store_from_minari(sources, args.out, args.download, args.action_repeat, args.quality, args.skip_damaged)
    if skipped:
        print(f"{counted(skipped, 'damaged episode')} left out.")
    return _next(args.out)


@dataclass(frozen=True)
class ExportMinari:
    """Write an episode store as Minari datasets OUT/<namespace>/<task>-v0, one per task.

    Needs pip install 'pwm[minari]'. With MINARI_DATASETS_PATH set to OUT, Minari loads them by name. The same command
    again resumes."""

    store: tyro.conf.Positional[Path]
    """Folder of the episode store."""
    out: Path
    """Folder for the Minari datasets."""
    tasks: tuple[str, ...] = ()
    """Tasks to export; none means all."""
    namespace: str = "pwm"
    """First part of the datasets' names."""


def export_minari(arguments: Sequence[str]) -> int:
    args = parse(ExportMinari, "data export minari", arguments)

    from pwm.data import minari_export
    from pwm.data.store import open_store

    done = minari_export.export_minari(open_store(args.store, args.tasks or None), args.out, args.namespace)
    for what, names in done.items():
        if names:
            print(f"{what}: {', '.join(names)}")
    print(f"Next: MINARI_DATASETS_PATH={args.out.absolute()} minari list local")
    return 0


def _next(out: Path) -> int:
    print(f"Next: pwm data inspect {out}")
    return 0
