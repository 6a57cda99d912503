"""`pwm.evaluate` and `pwm evaluate`: evaluates a run's policies in the simulator and records it in run.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pwm.acting.policy_file import policy_path
from pwm.data.preflight import as_facts
from pwm.evaluation.evaluate import Simulator, evaluate_run
from pwm.pipeline.checks import before_evaluation, show
from pwm.pipeline.facts import task_files
from pwm.runtime.device import resolve_device
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.run_folder import read_run_file, record_step, refuse_changes, run_file
from pwm.runtime.stopwatch import Stopwatch
from pwm.tasks.registry import get_task


@alone("run", make=False)
def evaluate(
    run: PathLike,
    episodes: int = 10,
    seed: int = 0,
    film_seconds: float = 6.0,
    device: torch.device | str = "cpu",
    clock: Stopwatch | None = None,
    workers: int | None = None,
    return_ranges: Mapping[str, tuple[float, float]] | None = None,
    simulator: Simulator = "task",
    *,
    command: str | None = None,
) -> dict[str, Any]:
    """Evaluate every policy of the run folder `run` in its task's simulator; returns the content of results.json.

    The same call again skips finished results. Policies act by their means; random actions are evaluated once per task.

    Args:
        episodes: per policy; the same episodes for all tasks and policies.
        seed: from which the episodes' seeds are derived.
        film_seconds: length of the film of each task's first policy, in simulator time; 0 makes none.
        workers: number of processes that step the environments, including this one: 0 and 1 start no other, None uses
            all cores if there is enough to do. The results do not depend on it.
        return_ranges: task -> (low, high), the returns that are normalised to 0 and 1, overriding the tasks' own.
        simulator: "task" for the simulator settings of the registered task, "trained" for those that each policy was
            trained with (`EnvironmentConfig`).
        command: repeats the evaluation, for run.json.

    Raises:
        PWMError: there is no run or no policy, a task is unknown, a policy's sizes differ from its task's, a file is
            damaged, an environment fails or a worker process dies (naming task and seed).
    """
    device = resolve_device(device) if isinstance(device, str) else device
    about = read_run_file(run) if run_file(run).exists() else {}
    if about:
        refuse_changes(run, task_files(get_task(task) for task in about.get("config", {}).get("task_files", {})))
    tasks = about.get("tasks") or []
    findings = show(
        before_evaluation([task for task in tasks if policy_path(run, str(task.get("id")), 0).parent.is_dir()])
    )
    results = evaluate_run(run, episodes, seed, film_seconds, device, clock, workers, return_ranges, simulator)
    if run_file(run).exists():
        settings = {"episodes": episodes, "seed": seed} | ({} if simulator == "task" else {"simulator": simulator})
        packages = dict.fromkeys(package for task in results["tasks"] for package in get_task(task).packages)
        record_step(
            run, "evaluate", {"evaluate": settings}, command=command, packages=packages, findings=as_facts(findings)
        )
    return results
