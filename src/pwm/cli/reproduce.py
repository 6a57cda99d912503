"""`pwm reproduce`: runs the experiments behind docs/results again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.cli.parse import parse
from pwm.experiments.registry import EXPERIMENTS


@dataclass(frozen=True)
class Reproduce:
    __doc__ = """Run an experiment of docs/results and write its numbers, NAME.json, and its page, NAME.md. The same
    command again resumes where it stopped.\n\n""" + "\n\n".join(
        f"{name}: {question}." for name, question in EXPERIMENTS.items()
    )

    name: tyro.conf.Positional[str]
    """The experiment."""
    out: Path = Path("runs/reproduce")
    """Folder for numbers and page."""
    runs: Path | None = None
    """Folder for run folders and partial results; none means OUT/runs."""
    only: tuple[str, ...] = ()
    """Only these parts of an experiment that has parts, again where they have numbers; none runs all that have none.
    Commands with different parts may run at the same time."""
    tiny: bool = False
    """Run everything at toy size, in OUT/tiny; the numbers mean nothing."""
    render: bool = False
    """Only render the page from OUT/NAME.json."""


def main(arguments: Sequence[str]) -> int:
    args = parse(Reproduce, "reproduce", arguments or ["--help"])

    from pwm.experiments.registry import render, reproduce
    from pwm.runtime.device import keep_freed_memory

    out, runs = args.out, args.runs or args.out / "runs"
    if args.tiny:
        out, runs = out / "tiny", runs / "tiny"
    if args.render:
        page = render(args.name, out)
    else:
        keep_freed_memory()
        page = reproduce(args.name, out, runs, args.tiny, args.only)
    print(f"Page in {page}")
    return 0
