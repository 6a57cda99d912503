"""`pwm data inspect`, `validate`, `merge` and `subset`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from pwm.cli.parse import Several, counted, parse
from pwm.runtime.errors import PWMError

if TYPE_CHECKING:
    from pwm.data.summary import TaskSummary
from pwm.runtime.ranges import Episodes, Seed, Share


@dataclass(frozen=True)
class Inspect:
    """Show what is in an episode store, in one row per task.

    The bars are a histogram of returns, with ten equal bins from the lowest to the highest. Below the table, a note on
    everything in the data that does not fit what training assumes, with its cure."""

    store: tyro.conf.Positional[Path]
    """Folder of the episode store."""
    tasks: tuple[str, ...] = ()
    """Tasks to show; none means all."""


def inspect(arguments: Sequence[str]) -> int:
    args = parse(Inspect, "data inspect", arguments)

    from rich.console import Console

    from pwm.data.preflight import as_lines, preflight
    from pwm.data.store import open_store
    from pwm.data.summary import summarise
    from pwm.runtime.progress import progress

    store = open_store(args.store, args.tasks or None)
    summaries = []
    with progress("Read", len(store.tasks)) as bar:
        for summary in summarise(store):
            summaries.append(summary)
            bar.advance()
    console = Console()
    console.width = max(console.width, 130)  # the default of 80 columns for a pipe would cut the table
    console.print(_table(summaries))
    origins = [(entry.id, origin) for entry in store.manifest.tasks for origin in entry.origins]
    for task, origin in origins:
        made = f"{counted(origin.episodes, 'episode')} by {origin.policy}"
        print(f"{task}: {made}, noise {origin.noise:g}, seed {origin.seed}")
    for line in as_lines(preflight(store)):
        print(line)
    return 0


def _table(summaries: Sequence[TaskSummary]):
    from rich import box
    from rich.table import Table

    from pwm.data.summary import bars

    episodes, steps = (sum(x) for x in zip(*((len(s.lengths), s.transitions) for s in summaries), strict=True))
    size = sum(s.size for s in summaries)
    parts = (counted(n, noun) for n, noun in ((len(summaries), "task"), (episodes, "episode"), (steps, "step")))
    total = f"{', '.join(parts)}, {size / 1e6:,.1f} MB"
    table = Table(title=total, box=box.SIMPLE_HEAD)
    table.add_column("task", no_wrap=True)
    for column in ("obs", "act", "episodes", "steps", "length", "return: low", "mean", "high"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("histogram", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("quality")
    for s in summaries:
        low, high = int(s.lengths.min()), int(s.lengths.max())
        numbers = [f"{x:.1f}" for x in (s.returns.min(), s.returns.mean(), s.returns.max())]
        tags = ", ".join(f"{tag or 'no tag'} {count:,}" for tag, count in s.qualities.items())
        table.add_row(
            *(s.id, str(s.observation_dim), str(s.action_dim), f"{len(s.lengths):,}", f"{s.transitions:,}"),
            *(str(low) if low == high else f"{low}-{high}", *numbers, bars(s.histogram())),
            *(f"{s.size / 1e6:,.1f}", tags if set(s.qualities) != {""} else ""),
        )
    return table


@dataclass(frozen=True)
class Validate:
    """Read and check all of an episode store: files, shapes, checksums, NaN, ranges, task names and sizes.

    Prints a line per problem, and exits with code 2 if there are any."""

    store: tyro.conf.Positional[Path]
    """Folder of the episode store."""


def validate(arguments: Sequence[str]) -> int:
    args = parse(Validate, "data validate", arguments)

    from pwm.data.manifest import read_manifest
    from pwm.data.summary import check_task, strays
    from pwm.runtime.progress import progress
    from pwm.tasks.registry import list_tasks

    manifest = read_manifest(args.store)
    entries = manifest.tasks
    problems: list[str] = []
    with progress("Check", sum(entry.transitions for entry in entries)) as bar:
        for entry in entries:
            problems += check_task(args.store, manifest, entry.id)
            bar.advance(entry.transitions)
    for line in problems:
        print(line)
    unknown = [entry.id for entry in entries if entry.id not in list_tasks()]
    if unknown:
        print(f"note: no simulator here for {', '.join(unknown)}; such policies can be learned, not evaluated")
    left = strays(args.store, manifest)
    if left:
        print(f"note: not part of the store: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}; may be removed")
    if problems:
        raise PWMError(f"{args.store}: {len(problems)} problem(s), see above")
    print(f"{args.store}: {counted(len(entries), 'task')} {'is' if len(entries) == 1 else 'are'} whole")
    return 0


@dataclass(frozen=True)
class Merge:
    """Merge episode stores into a new one, in the given order."""

    stores: Several[tuple[Path, ...]]
    """Folders of the episode stores, two or more."""
    out: Path
    """Folder of the new episode store."""


def merge(arguments: Sequence[str]) -> int:
    args = parse(Merge, "data merge", arguments)

    from pwm.data import edit
    from pwm.data.store import open_store

    if len(args.stores) < 2:
        raise PWMError("name two stores or more; `pwm data subset` makes a store from one")
    edit.merge([open_store(path, verify=True) for path in args.stores], args.out)
    print(f"Merged into {args.out}. Next: pwm data inspect {args.out}")
    return 0


@dataclass(frozen=True)
class Subset:
    """Write a subset of a store as a new one: filter by task, then by tag, then by return, then draw at random.

    For example, the best tenth of two tasks: pwm data subset data/all --tasks walker-walk cup-catch
    --return-quantiles 0.9 1 --out data/best"""

    store: tyro.conf.Positional[Path]
    """Folder of the episode store."""
    out: Path
    """Folder of the new episode store."""
    tasks: tuple[str, ...] = ()
    """Tasks to keep, in this order; none means all."""
    quality: tuple[str, ...] = ()
    """Tags to keep; none means all episodes."""
    return_quantiles: tuple[Share, Share] = (0.0, 1.0)
    """Range of each task's episodes to keep, ordered by return: 0.9 1 keeps the best tenth."""
    episodes: Episodes | None = None
    """Number of episodes to keep of each task, drawn at random; none keeps all."""
    seed: Seed = 0
    """Seed of that draw."""


def subset(arguments: Sequence[str]) -> int:
    args = parse(Subset, "data subset", arguments)

    from pwm.cli.parse import command_line
    from pwm.data.edit import choose, write_subset
    from pwm.data.store import open_store

    store = open_store(args.store, args.tasks or None, verify=True)
    chosen = choose(store, args.quality, args.return_quantiles, args.episodes, args.seed)
    write_subset(store, args.out, chosen, command_line("data subset", arguments))
    kept, all_of_them = sum(map(len, chosen.values())), sum(len(store[task].lengths) for task in store.tasks)
    print(f"{kept:,} of {counted(all_of_them, 'episode')} in {args.out}. Next: pwm data inspect {args.out}")
    return 0
