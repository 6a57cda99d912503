"""`pwm online`: policies that learn from their own real episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pwm.agents.online.config import LEARNING, MODEL, TRAINING, OnlineConfig
from pwm.agents.pwm.config import PolicyConfig
from pwm.cli.parse import begin, parse
from pwm.runtime.ranges import Few, Seed, Threads
from pwm.world_model.config import PretrainConfig, WorldModelConfig


@dataclass(frozen=True)
class Online:
    """Learn policies on line, from nothing or from logs: act, store, train the world model, train the policies, again.

    All tasks and seeds share one world model and learn as one fleet. The same command again resumes where it stopped;
    with more --episodes it goes on."""

    tasks: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--task"])]
    """Tasks to learn."""
    out: Path
    """Run folder."""
    data: Path | None = None
    """Folder of an episode store to begin with; none begins with random episodes."""
    seed: Seed = 0
    """Seed of the first policy of each task, and of the world model."""
    seeds: Few = 1
    """Policies per task; their seeds count on from the first."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Threads | None = 1
    """CPU threads; none leaves PyTorch's choice. These networks gain little from more than one."""
    rounds: tyro.conf.OmitArgPrefixes[OnlineConfig] = OnlineConfig()
    model: WorldModelConfig = MODEL
    training: PretrainConfig = TRAINING
    learning: PolicyConfig = LEARNING


def main(arguments: Sequence[str]) -> int:
    args = parse(Online, "online", arguments, prefixes=True)

    from pwm.data.store import open_store
    from pwm.pipeline.online import online

    again = begin("online", arguments, args.threads, args.out)
    data = None if args.data is None else open_store(args.data, verify=True)
    seeds, more = range(args.seed, args.seed + args.seeds), {"training": args.training, "learning": args.learning}
    online(args.tasks, args.out, args.rounds, args.model, data, seeds, args.device, **more, **again)
    print(f"Policies in {args.out / 'policies'}. Next: pwm evaluate {args.out}")
    return 0
