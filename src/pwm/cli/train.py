"""`pwm train`: trains baselines in the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pwm.agents.sb3.config import PPOConfig, SACConfig
from pwm.agents.shac.config import ShacConfig, shac_preset
from pwm.cli.parse import begin, parse, peek
from pwm.runtime.ranges import Few, Range, Seed, Threads
from pwm.tasks.environment_config import EnvironmentConfig


@dataclass(frozen=True)
class Train:
    """Train a baseline on one task, in its simulator. The same command again resumes where it stopped.

    The settings below are those of --algo; `pwm train --algo ppo --help` shows PPO's."""

    algo: Literal["shac", "ppo", "sac"] = "shac"
    """shac: by gradients through a differentiable simulator, for locomotion tasks only. ppo and sac: on any task, with
    Stable-Baselines3."""
    task: str = "ant"
    """Task to learn. SHAC has presets for some tasks."""
    out: Path | None = None
    """Run folder; none means runs/ALGO-TASK."""
    seed: Seed = 0
    """Seed of the first policy."""
    seeds: Few = 1
    """Policies to train, one after the other, with consecutive seeds."""
    time_budget: Annotated[float, Range(0, 1e7)] | None = None
    """Minutes of training per policy, including resumptions, after which it stops; with a larger budget it resumes."""
    device: str = "cpu"
    """auto, cpu, cuda or cuda:N."""
    threads: Threads | None = 1
    """CPU threads; these networks are too small to gain from more."""
    simulator: EnvironmentConfig = EnvironmentConfig()


@dataclass(frozen=True)
class TrainShac(Train):
    __doc__ = Train.__doc__

    save_replay: Path | None = None
    """Folder of an episode store to write at the end of training, with all episodes played (for one seed only)."""
    learning: ShacConfig = ShacConfig()


@dataclass(frozen=True)
class TrainPPO(Train):
    __doc__ = Train.__doc__

    learning: PPOConfig = PPOConfig()


@dataclass(frozen=True)
class TrainSAC(Train):
    __doc__ = Train.__doc__

    learning: SACConfig = SACConfig()


_COMMANDS: dict[str, type[Train]] = {"shac": TrainShac, "ppo": TrainPPO, "sac": TrainSAC}


def main(arguments: Sequence[str]) -> int:
    algorithm = peek(arguments, "--algo", Train.algo)
    command = _COMMANDS.get(algorithm, TrainShac)
    defaults = {}
    if command is TrainShac:
        defaults["learning"] = shac_preset(peek(arguments, "--task", Train.task))
    args: Any = parse(command, "train", arguments, **defaults)

    from pwm.pipeline.train import train

    replay = getattr(args, "save_replay", None)
    out = args.out or Path("runs") / f"{args.algo}-{args.task}"
    again = begin("train", arguments, args.threads, out) | {"time_budget": args.time_budget, "save_replay": replay}
    seeds = range(args.seed, args.seed + args.seeds)
    train(args.task, out, args.learning, seeds, args.simulator, args.device, **again)
    print(f"Policies in {out / 'policies'}. Next: pwm evaluate {out}")
    return 0
