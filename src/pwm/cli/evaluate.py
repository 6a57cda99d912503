"""`pwm evaluate`: evaluates a run's policies in the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pwm.cli.parse import begin, parse
from pwm.runtime.ranges import AnyNumber, Episodes, Range, Seed, Threads, Workers

_RANGES = tyro.conf.arg(metavar="TASK LOW HIGH ...", help_behavior_hint="(default: none)")


@dataclass(frozen=True)
class Evaluate:
    """Evaluate all policies of a run in the simulator, next to random actions and the data.

    Policies that were evaluated before with the same number of episodes and seed are skipped."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    episodes: Episodes = 10
    """Episodes per policy."""
    seed: Seed = 0
    """Seed from which the episodes' seeds are derived."""
    film_seconds: Annotated[float, Range(0, 3600)] = 6.0
    """Length of the film of each task, in simulator time; 0 makes none."""
    device: str = "cpu"
    """Device of the policies: auto, cpu, cuda or cuda:N. Simulators run on the CPU in any case."""
    workers: Workers | None = None
    """Processes that step the environments, including this one; 0 and 1 start no other. None uses all cores if there is
    enough to do. The results do not depend on it."""
    return_range: Annotated[dict[str, tuple[AnyNumber, AnyNumber]], _RANGES] = field(default_factory=dict)
    """Of each task: the returns that are normalised to 0 and 1 when tasks are aggregated. dm_control's tasks have
    such a range, Meta-World's are scored by success, and tasks with neither are left out of the aggregate."""
    simulator: Literal["task", "trained"] = "task"
    """task: the settings of the registered task. trained: those that a policy of `pwm train` was trained with
    (--mass-matrix-every, --contact-stiffness); results.json names them."""
    threads: Threads | None = None
    """CPU threads; none means PyTorch's default."""


def main(arguments: Sequence[str]) -> int:
    args = parse(Evaluate, "evaluate", arguments)

    from pwm.cli.show import show_results
    from pwm.pipeline.evaluate import evaluate

    more = begin("evaluate", arguments, args.threads, args.run)
    more |= {"workers": args.workers, "return_ranges": args.return_range, "simulator": args.simulator}
    results = evaluate(args.run, args.episodes, args.seed, args.film_seconds, args.device, **more)
    show_results(results)
    for task, settings in results.get("simulators", {}).items():
        print(f"Simulator of {task}: {', '.join(f'{name} {value}' for name, value in settings.items())}")
    print(f"Results in {args.run / 'results.json'}. Next: pwm report {args.run}")
    return 0
