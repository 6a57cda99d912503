"""`pwm plan`: a run's policies with planning on top, as a run of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.agents.planner import PlanConfig
from pwm.cli.parse import command_line, parse


@dataclass(frozen=True)
class Plan:
    """Put a planner on top of a run's policies: the paper's "PWM + planning", with TD-MPC2's planner.

    The new run holds one policy file per task and seed, which `pwm evaluate` and `pwm report` take like any other.
    Each file holds the whole world model, and acting takes hundreds of times longer than without planning."""

    run: tyro.conf.Positional[Path]
    """Run folder whose fleets have learned; their checkpoints hold the critics."""
    out: Path
    """Run folder of the policies that plan."""
    world_model: Path | None = None
    """Run folder (or weights file) of the world model; none means the run's own."""
    planning: PlanConfig = PlanConfig()


def main(arguments: Sequence[str]) -> int:
    args = parse(Plan, "plan", arguments)

    from pwm.acting.policy_file import check_free, policy_path
    from pwm.agents.pwm.planned import planned_policies
    from pwm.runtime.errors import PWMError
    from pwm.runtime.progress import progress
    from pwm.runtime.run_folder import read_run_file, record_step
    from pwm.world_model.files import load_world_model

    if args.out.resolve() == args.run.resolve():
        raise PWMError(f"--out {args.out}: is the run itself; name another folder")
    model = load_world_model(args.world_model or args.run)
    known = read_run_file(args.run)
    facts = {name: known[name] for name in ("seed", "data", "tasks") if known.get(name) is not None}
    policies = sorted((args.run / "policies").glob("*/seed*.safetensors"))
    check_free([args.out / path.relative_to(args.run) for path in policies])
    record_step(args.out, "plan", {"plan": args.planning}, command=command_line("plan", arguments), **facts)
    with progress("Planning policies", len(policies)) as bar:
        for policy in planned_policies(args.run, model, args.planning):
            policy.save(policy_path(args.out, policy.task, policy.seed))
            bar.advance(1)
    print(f"Policies in {args.out / 'policies'}. Next: pwm evaluate {args.out}")
    return 0
