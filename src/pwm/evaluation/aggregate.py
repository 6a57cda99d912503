"""Scores of all tasks on one scale, and their aggregate statistics: the "aggregate" of results.json.

A run is one policy of a task; its score is the mean over its episodes on the field's usual scale: the return normalised
by the task's `return_range` (dm_control: return / 1000), or the success rate (Meta-World).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pwm.evaluation.statistics import (
    Statistic,
    aggregate_iqm,
    aggregate_mean,
    aggregate_median,
    performance_profile,
    published_task_ci,
    stratified_bootstrap_ci,
    task_bootstrap_ci,
)
from pwm.tasks.spec import TaskSpec

OVER_SEEDS = "95 % interval over seeds"
OVER_TASKS = "95 % interval over tasks"
OVER_TASKS_PUBLISHED = "95 % interval over tasks, as published"
STATISTICS: dict[str, Statistic] = {"iqm": aggregate_iqm, "mean": aggregate_mean, "median": aggregate_median}
THRESHOLDS = tuple(round(0.02 * i, 2) for i in range(51))
"""Normalised scores at which the performance profile is evaluated."""

Scores = Mapping[str, Any]
"""Scores of one policy as in `results.json`: "returns" [episodes], and "success" [episodes] if the task reports it."""


def normalised_score(spec: TaskSpec, scores: Scores) -> float | None:
    """The score of one run: mean success if that is the task's score, else the mean return on `spec.return_range`.

    None if the task has no such scale, or does not report success.
    """
    if spec.score == "success":
        return float(np.mean(scores["success"])) if "success" in scores else None
    if spec.return_range is None:
        return None
    low, high = spec.return_range
    return float((np.mean(scores["returns"]) - low) / (high - low))


def scale_of(spec: TaskSpec) -> str:
    """How a task's score is computed, in words."""
    if spec.score == "success" or spec.return_range is None:
        return "success at the last step" if spec.score == "success" else "none"
    low, high = spec.return_range
    return f"return / {high:g}" if low == 0 else f"(return {-low:+g}) / {high - low:g}"


def aggregate(specs: Mapping[str, TaskSpec], policies: Mapping[str, Mapping[str, Scores]]) -> dict[str, Any]:
    """Aggregate over all tasks, from `policies`: task -> seed -> scores.

    Returns "normalised" (task -> scale, runs by seed, mean), "runs", "tasks" (ids in the table), the statistics "iqm",
    "mean" and "median" (value and intervals, null if undefined), "profile", and "notes": sentences on what is undefined
    or left out. Without a task that has a score on a common scale there are no statistics.
    """
    normalised, notes, without = {}, [], []
    for task, runs in policies.items():
        scores = {seed: normalised_score(specs[task], own) for seed, own in runs.items()}
        if not scores or any(score is None for score in scores.values()):
            without.append(task)
        else:
            mean = float(np.mean(list(scores.values())))
            normalised[task] = {"scale": scale_of(specs[task]), "runs": scores, "mean": mean}
    if without:
        notes.append(
            f"Left out of the aggregate, because their scores have no common scale (a return_range or reported "
            f"success): {', '.join(without)}."
        )
    found: dict[str, Any] = {"tasks": list(normalised), "normalised": normalised}
    if not normalised:
        return found | {"runs": 0, "notes": notes}
    runs = min(len(entry["runs"]) for entry in normalised.values())
    if any(len(entry["runs"]) > runs for entry in normalised.values()):
        notes.append(f"Tasks have different numbers of policies; the aggregate takes the first {runs} of each.")
    table = np.array([list(entry["runs"].values())[:runs] for entry in normalised.values()]).T
    notes += _undefined(*table.shape)
    found |= {"runs": runs} | {name: _statistic(table, name) for name in STATISTICS}
    profile = performance_profile(table, THRESHOLDS)
    return found | {"profile": {"thresholds": list(THRESHOLDS), "fraction": profile.tolist()}, "notes": notes}


def _statistic(table: np.ndarray, name: str) -> dict[str, Any]:
    """Value and intervals of one statistic of `table` [runs, tasks]."""
    runs, tasks = table.shape
    function = STATISTICS[name]

    def interval(known: bool, method: Callable[..., tuple[float, float]]) -> list[float] | None:
        return list(method(table, function)) if known else None

    entry: dict[str, Any] = {"value": float(function(table))}
    entry[OVER_SEEDS] = interval(runs > 1, stratified_bootstrap_ci)
    entry[OVER_TASKS] = interval(tasks > 1, task_bootstrap_ci)
    if runs > 1 and tasks > 1 and name != "median":  # with one run it equals the previous one
        entry[OVER_TASKS_PUBLISHED] = list(published_task_ci(table, function))
    return entry


def _undefined(runs: int, tasks: int) -> list[str]:
    notes = []
    if runs == 1:
        notes.append(
            f"The {OVER_SEEDS} is undefined: there is one policy per task. `--seeds` of `pwm learn` or `pwm train` "
            "makes more."
        )
    if tasks == 1:
        notes.append(f"The {OVER_TASKS} is undefined: there is one task.")
    return notes
