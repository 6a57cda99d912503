"""`pwm.evaluate` and `pwm evaluate`: a run's policies in the simulator, and what run.json says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pwm.evaluation.evaluate import Simulator, evaluate_run
from pwm.runtime.device import resolve_device
from pwm.runtime.files import PathLike
from pwm.runtime.run_folder import record_step, run_file
from pwm.runtime.stopwatch import Stopwatch
from pwm.tasks.registry import get_task


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
    """Measure every policy of the run folder `run` in its task's simulator; returns the content of results.json.

    The same call again skips what it has measured. All tasks and policies meet the same `episodes`, whose seeds are
    made from `seed`; actions are the policies' means, and random actions run once per task. The first policy of each
    task is filmed for `film_seconds` of the simulator's time; 0 makes no film. `workers` is the number of processes
    that step the environments, this one among them: 0 and 1 start no other, None takes all cores where that pays. The
    results do not depend on it. `return_ranges` (task -> the returns that count as 0 and 1) replace those of the tasks
    where all tasks are put on one scale. `simulator` is where they are measured: in the "task" as it is registered, or
    with the settings of the simulator that a policy was "trained" in (`EnvironmentConfig`). `command` is what run.json
    names as the way to do this again.

    Raises:
        PWMError: no run, no policies, an unknown task, a policy of other sizes than its task, damaged files, an
            environment that fails or a worker process that dies (named with task and seed).
    """
    device = resolve_device(device) if isinstance(device, str) else device
    results = evaluate_run(run, episodes, seed, film_seconds, device, clock, workers, return_ranges, simulator)
    if run_file(run).exists():
        settings: dict[str, Any] = {"evaluate": {"episodes": episodes, "seed": seed}}
        if simulator != "task":
            settings["evaluate"]["simulator"] = simulator
        packages = dict.fromkeys(package for task in results["tasks"] for package in get_task(task).packages)
        record_step(run, "evaluate", settings, command=command, packages=packages)
    return results
