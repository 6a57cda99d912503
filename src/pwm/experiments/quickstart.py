"""The quickstart with three seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pwm.experiments.page import mean_interval, origins, run_facts, table
from pwm.pipeline.quickstart import run_quickstart
from pwm.pipeline.recipe import recipe
from pwm.runtime.files import read_json

SEEDS = (0, 1, 2)
KEPT = ("policy_mean", "policy_ci", "data_mean", "data_best10_mean", "random_mean", "episodes", "policy_returns")


def run(runs: Path, tiny: bool) -> dict[str, Any]:
    """Run the quickstart once per seed."""
    entries = []
    for seed in SEEDS:
        folder = quickstart_run(runs, tiny, seed)
        results = read_json(folder / "results.json")
        tasks = {task: {key: row[key] for key in KEPT} for task, row in results["tasks"].items()}
        entries.append(run_facts(folder) | {"wall_seconds": results["wall_seconds"], "tasks": tasks})
    return {"runs": entries}


def quickstart_run(runs: Path, tiny: bool, seed: int = 0) -> Path:
    """The run folder of a finished quickstart, which other experiments also start from."""
    out, preset = runs / f"quickstart-seed{seed}", "tiny" if tiny else "quickstart"
    command = f"pwm quickstart --preset {preset} --seed {seed}"
    run_quickstart(out, recipe(preset), seed, command=command)
    return out


def render(record: dict[str, Any]) -> str:
    """A table of returns and one of seconds."""
    runs = record["runs"]
    rows = []
    for task, first in runs[0]["tasks"].items():
        facts = [f"{first[key]:.0f}" for key in ("random_mean", "data_mean", "data_best10_mean")]
        rows.append([task, *facts, *(_cell(run["tasks"][task]) for run in runs)])
    heads = ["task", "random", "data mean", "best ten", *(f"policy, seed {run['seed']}" for run in runs)]
    stages = [name for name in runs[0]["wall_seconds"] if name != "total"]
    seconds = [
        [str(run["seed"]), *(f"{run['wall_seconds'][name]:.0f} s" for name in ("total", *stages))] for run in runs
    ]
    return f"""# The quickstart, three seeds

{table(heads, rows)}

Mean return over {next(iter(runs[0]["tasks"].values()))["episodes"]} episodes with its 95 % bootstrap interval over
episodes. "90 %": at least 90 % of the mean of the data's ten best episodes. Policies act by their means.

{table(["seed", "total", *stages], seconds)}

{origins(runs)}
"""


def _cell(row: dict[str, Any]) -> str:
    above = "beats data" if row["policy_mean"] > row["data_mean"] else "below data"
    near = ", 90 %" if row["policy_mean"] >= 0.9 * row["data_best10_mean"] else ""
    return f"{mean_interval(row['policy_mean'], row['policy_ci'])} ({above}{near})"
