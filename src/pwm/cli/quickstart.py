"""`pwm quickstart`: the whole story, from a dataset to a report, as one command that resumes wherever it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pwm.cli.parse import command_line, parse
from pwm.pipeline.recipe import Recipe, recipe


@dataclass(frozen=True)
class Quickstart:
    """From data to evaluated policies and a report: pre-train one world model on all tasks, learn one policy per task
    inside it, measure them in the simulator. The same command again resumes where it stopped."""

    out: Path = Path("runs/quickstart")
    """Run folder; the report goes to OUT/report.html."""
    seed: int = 0
    """Seed of everything: model, policies, evaluation."""
    data: Path | None = None
    """Folder of an episode store; none means the bundled sample."""
    preset: str = "quickstart"
    """Recipe: quickstart, or tiny (all the motions in seconds; learns nothing)."""
    films: bool = True
    """Film one episode per task, where rendering works."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: int | None = None
    """CPU threads; none leaves PyTorch's choice."""


def main(arguments: Sequence[str]) -> int:
    args = parse(Quickstart, "quickstart", arguments)
    run(args, recipe(args.preset), command_line("quickstart", arguments))
    return 0


def run(args: Quickstart, recipe: Recipe, command: str) -> None:
    """The pipeline; every step looks for itself what is done already."""
    from pwm.cli.main import STARTED
    from pwm.cli.show import show_results
    from pwm.data.sample import sample_store_path
    from pwm.data.store import open_store
    from pwm.evaluation.evaluate import evaluate_run
    from pwm.pipeline import steps
    from pwm.report.page import write_report
    from pwm.report.words import duration
    from pwm.runtime.device import keep_freed_memory, resolve_device, set_threads
    from pwm.runtime.stopwatch import Stopwatch
    from pwm.tasks.registry import get_task

    keep_freed_memory()
    set_threads(args.threads)
    device = resolve_device(args.device)
    clock = Stopwatch(args.out, STARTED)

    # 1. The data: logged episodes of several tasks.
    store = open_store(args.data or sample_store_path(), verify=True)
    for task in store.tasks:
        get_task(task)  # what has no simulator cannot be evaluated; say so now
    transitions = sum(len(store[task].rewards) for task in store.tasks)
    print(f"Data: {transitions:,} transitions of {', '.join(store.tasks)}")

    # 2. One world model of all tasks.
    again = {"command": command, "clock": clock}
    model = steps.pretrain(store, args.out, recipe.model, recipe.pretrain, args.seed, device, **again)

    # 3. Frozen, it is where one policy per task learns; all policies are one batch.
    steps.learn(model, store, args.out, store.tasks, recipe.policy, [args.seed], device, **again)

    # 4. The policies in the real simulator.
    film_seconds = recipe.film_seconds if args.films else 0.0
    results = evaluate_run(args.out, recipe.episodes, args.seed, film_seconds, clock=clock)

    # 5. What came of it.
    report = write_report(args.out)
    print()
    show_results(results)
    print(f"Report in {report}, after {duration(results['wall_seconds']['total'])}")
