"""`pwm finetune`: a run's world model and policies go on learning from real episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pwm.agents.online.config import LEARNING, TRAINING, OnlineConfig
from pwm.agents.pwm.config import PolicyConfig
from pwm.cli.parse import begin, parse
from pwm.runtime.ranges import Few, Seed, Threads
from pwm.world_model.config import PretrainConfig


@dataclass(frozen=True)
class Finetune:
    """Learn on from a run's world model and policies with real episodes, also tasks that the model has never seen.

    The new run goes to --out. The same command again resumes where it stopped; with more --episodes it goes on."""

    run: tyro.conf.Positional[Path]
    """Run folder to begin with: pre-trained, learned on line, or imported."""
    out: Path
    """Run folder of what is learned."""
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--task"])] = ()
    """Tasks to learn; none means those of the run's policies."""
    data: Path | None = None
    """Folder of an episode store to begin with; none means the data that the run was trained on, if any."""
    seed: Seed = 0
    """Seed of the first policy of each task."""
    seeds: Few = 1
    """Policies per task; their seeds count on from the first."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Threads | None = 1
    """CPU threads; none leaves PyTorch's choice."""
    rounds: tyro.conf.OmitArgPrefixes[OnlineConfig] = OnlineConfig()
    training: PretrainConfig = TRAINING
    learning: PolicyConfig = LEARNING


def main(arguments: Sequence[str]) -> int:
    args = parse(Finetune, "finetune", arguments, prefixes=True)

    from pwm.data.store import open_store
    from pwm.pipeline.finetune import finetune

    again = begin("finetune", arguments, args.threads, args.out)
    data = None if args.data is None else open_store(args.data, verify=True)
    seeds, more = range(args.seed, args.seed + args.seeds), {"training": args.training, "learning": args.learning}
    finetune(args.run, args.out, args.tasks, args.rounds, data, seeds, args.device, **more, **again)
    print(f"Policies in {args.out / 'policies'}. Next: pwm evaluate {args.out}")
    return 0
