"""`pwm plan`: puts a planner on top of a run's policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.agents.plan_config import PlanConfig
from pwm.cli.parse import command_line, parse


@dataclass(frozen=True)
class Plan:
    """Put a planner on top of a run's policies: the paper's "PWM + planning", with TD-MPC2's planner.

    The new run has one policy file per task and seed, for `pwm evaluate` and `pwm report` as usual. Each file holds the
    whole world model, and acting takes hundreds of times longer than without planning."""

    run: tyro.conf.Positional[Path]
    """Run folder with finished fleets, whose checkpoints hold the critics."""
    out: Path
    """Run folder for the policies with planning."""
    world_model: Path | None = None
    """Run folder (or weights file) of the world model; none means the run's own."""
    planning: PlanConfig = PlanConfig()


def main(arguments: Sequence[str]) -> int:
    args = parse(Plan, "plan", arguments)

    from pwm.pipeline.plan import plan

    plan(args.run, args.out, args.planning, args.world_model, command=command_line("plan", arguments))
    print(f"Policies in {args.out / 'policies'}. Next: pwm evaluate {args.out}")
    return 0
