"""From a dataset to evaluated policies and a report; every step skips what is done already."""

from __future__ import annotations

from typing import Any

import torch

from pwm.data.store import open_store, sample_store_path
from pwm.pipeline.evaluate import evaluate
from pwm.pipeline.learn import learn
from pwm.pipeline.pretrain import pretrain
from pwm.pipeline.recipe import Recipe
from pwm.report.page import write_report
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.stopwatch import Stopwatch
from pwm.tasks.registry import get_task


@alone("out")
def run_quickstart(
    out: PathLike,
    recipe: Recipe,
    seed: int = 0,
    data: PathLike | None = None,
    device: torch.device | str = "auto",
    *,
    command: str | None = None,
    clock: Stopwatch | None = None,
) -> dict[str, Any]:
    """Pre-train, learn, evaluate and report with `recipe` in the run folder `out`; returns the content of results.json.

    The same call again resumes. `data` is the folder of an episode store, by default the bundled sample; `command`
    repeats the run, for run.json.

    Raises:
        PWMError: the data cannot be used or have a task without a simulator, or `out` holds a run with other settings.
    """
    again: dict[str, Any] = {"command": command, "clock": clock or Stopwatch(out)}

    # 1. The data: logged episodes of several tasks.
    store = open_store(data or sample_store_path(), verify=True)
    for task in store.tasks:
        get_task(task)  # a task without a simulator cannot be evaluated: fail now
    transitions = sum(len(store[task].rewards) for task in store.tasks)
    print(f"Data: {transitions:,} transitions of {', '.join(store.tasks)}")

    # 2. One world model of all tasks.
    model = pretrain(store, out, recipe.model, recipe.pretrain, seed, device, **again)

    # 3. One policy per task, learned in the frozen model as one batch.
    learn(model, store, out, store.tasks, recipe.policy, [seed], device, **again)

    # 4. The policies in the simulator.
    results = evaluate(out, recipe.episodes, seed, recipe.film_seconds, **again)

    # 5. The report.
    write_report(out)
    return results
