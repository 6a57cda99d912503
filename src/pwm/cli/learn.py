"""`pwm learn`: learns policies in a frozen world model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pwm.agents.pwm.config import PolicyConfig, policy_preset
from pwm.cli.parse import begin, parse, peek
from pwm.runtime.errors import PWMError
from pwm.runtime.ranges import Episodes, Few, Seed, Threads


@dataclass(frozen=True)
class Learn:
    """Learn one policy per task and seed inside a frozen world model, all as one batch.

    The same command again resumes where it stopped."""

    world_model: Path
    """Run folder (or weights file) of the world model."""
    task: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--tasks"])] = ()
    """Tasks to learn; none means all of the model's."""
    seeds: Few = 1
    """Policies per task."""
    seed: Seed = 0
    """Seed of the first policy of each task; the others have the following seeds."""
    fleet: Episodes | None = None
    """Policies learned at once; none means all. Fewer take less memory and more time in total."""
    preset: str = "as_paper"
    """as_paper, or as_published (as the authors' code); the flags below override single fields of it."""
    data: Path | None = None
    """Folder of the episode store; none means the one that the world model was trained on."""
    out: Path | None = None
    """Run folder: policies go to OUT/policies; none means the world model's own run."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Threads | None = None
    """CPU threads; none means PyTorch's default."""
    verify: bool = True
    """Read all data once before learning, to check checksums and that all numbers are finite."""
    learning: PolicyConfig = PolicyConfig()


def main(arguments: Sequence[str]) -> int:
    preset = peek(arguments, "--preset", Learn.preset)
    args = parse(Learn, "learn", arguments, preset=preset, learning=policy_preset(preset))

    from pwm.data.store import open_store
    from pwm.pipeline.learn import data_of, learn
    from pwm.runtime.device import resolve_device
    from pwm.world_model.files import load_world_model

    if args.out is None and args.world_model.is_file():
        raise PWMError(f"--world-model {args.world_model} is a file; name a run folder, or add --out")
    out = args.world_model if args.out is None else args.out
    again = begin("learn", arguments, args.threads, out)
    model = load_world_model(args.world_model, resolve_device(args.device))
    tasks = tuple(dict.fromkeys(args.task)) or model.tasks
    for task in tasks:
        model.index(task)
    store = open_store(args.data or data_of(args.world_model), tasks, verify=args.verify)
    seeds = range(args.seed, args.seed + args.seeds)
    learn(model, store, out, tasks, args.learning, seeds, args.device, fleet=args.fleet, **again)
    print(f"Policies in {out / 'policies'}. Next: pwm evaluate {out}")
    return 0
