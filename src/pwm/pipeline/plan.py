"""`pwm.plan` and `pwm plan`: a new run with a planner on top of another run's policies."""

from __future__ import annotations

from pathlib import Path

from pwm.acting.policy_file import check_free, policy_path
from pwm.agents.plan_config import PlanConfig
from pwm.agents.pwm.planned import planned_policies
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.progress import progress
from pwm.runtime.run_folder import read_run_file, record_step
from pwm.world_model.files import load_world_model


@alone("out")
def plan(
    run: PathLike,
    out: PathLike,
    config: PlanConfig | None = None,
    world_model: PathLike | None = None,
    *,
    command: str | None = None,
) -> list[Path]:
    """Put a planner on top of the policies of `run`; returns their files in the new run folder `out`.

    `world_model` is the run folder or weights file that they learned in, by default `run` itself; `config` defaults to
    TD-MPC2's settings; `command` repeats the step, for run.json.

    Raises:
        PWMError: `run` has no fleet that has finished learning, or `out` is `run` or already holds such policies.
    """
    run, out, config = Path(run), Path(out), config or PlanConfig()
    if out.resolve() == run.resolve():
        raise PWMError(f"--out {out}: is the run itself; name another folder")
    model = load_world_model(world_model or run)
    known = read_run_file(run)
    facts = {name: known[name] for name in ("seed", "data", "tasks") if known.get(name) is not None}
    learned = sorted((run / "policies").glob("*/seed*.safetensors"))
    check_free([out / path.relative_to(run) for path in learned])
    record_step(out, "plan", {"plan": config}, command=command, **facts)
    files = []
    with progress("Planning policies", len(learned)) as bar:
        for policy in planned_policies(run, model, config):
            files.append(policy_path(out, policy.task, policy.seed))
            policy.save(files[-1])
            bar.advance(1)
    return files
