"""`pwm quickstart`: from a dataset to a report in one command, which resumes wherever it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pwm.cli.parse import begin, parse
from pwm.pipeline.recipe import recipe
from pwm.runtime.ranges import Seed, Threads


@dataclass(frozen=True)
class Quickstart:
    """From data to evaluated policies and a report: pre-train one world model on all tasks, learn one policy per task
    in it, and evaluate them in the simulator. The same command again resumes where it stopped."""

    out: Path = Path("runs/quickstart")
    """Run folder; the report goes to OUT/report.html."""
    seed: Seed = 0
    """Seed of everything: model, policies, evaluation."""
    data: Path | None = None
    """Folder of an episode store; none means the bundled sample."""
    preset: str = "quickstart"
    """Recipe: quickstart, or tiny (all steps in seconds; learns nothing)."""
    films: bool = True
    """Film one episode per task, if rendering works."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Threads | None = None
    """CPU threads; none means PyTorch's default."""


def main(arguments: Sequence[str]) -> int:
    args = parse(Quickstart, "quickstart", arguments)
    chosen = recipe(args.preset)

    from pwm.cli.show import show_results
    from pwm.pipeline.quickstart import run_quickstart
    from pwm.report.words import duration
    from pwm.runtime.device import resolve_device

    if not args.films:
        chosen = replace(chosen, film_seconds=0.0)
    again = begin("quickstart", arguments, args.threads, args.out)
    results = run_quickstart(args.out, chosen, args.seed, args.data, resolve_device(args.device), **again)
    print()
    show_results(results)
    print(f"Report in {args.out / 'report.html'}, after {duration(results['wall_seconds']['total'])}")
    return 0
