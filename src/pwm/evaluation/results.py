"""results.json: the results of an evaluation, of which the next one reuses what has not changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pwm.evaluation.statistics import aggregate_mean, stratified_bootstrap_ci
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json

Scores = dict[str, Any]
"""Scores of one policy, each [episodes]: "returns", "lengths" (agent steps), and if the task reports it "success" (at
the last step) and "success_any" (at any step). Results of earlier versions have neither lengths nor success_any."""
OPTIONAL = ("success", "success_any", "lengths")


def results_path(run: PathLike) -> Path:
    """The path of a run folder's results.json."""
    return Path(run) / "results.json"


def read_results(
    run: PathLike, episodes: int, seed: int, simulators: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The results of an earlier evaluation with the same number of episodes and seed; empty if there is none.

    `simulators` (task -> settings) are those that differ from the tasks' own; results with others are dropped.

    Raises:
        PWMError: the file is damaged.
    """
    path = results_path(run)
    empty = {"wall_seconds": {}, "episodes": episodes, "seed": seed, "random": {}, "tasks": {}}
    empty |= {"simulators": simulators} if simulators else {}
    if not path.exists():
        return empty
    cure = "; delete the file and run `pwm evaluate` again"
    try:
        found = read_json(path)
    except PWMError as error:
        raise PWMError(f"{error}{cure}") from error
    parts = (found, *(found.get(name) for name in ("tasks", "random"))) if isinstance(found, dict) else (found,)
    if not all(isinstance(part, dict) for part in parts):
        raise PWMError(f"{path}: is not an object with objects 'tasks' and 'random'{cure}")
    if any(found.get(name) != empty.get(name) for name in ("episodes", "seed", "simulators")):
        return empty
    for task, entry in found["tasks"].items():
        policies = entry.get("policies") if isinstance(entry, dict) else None
        if not isinstance(policies, dict) or not all(_good(scores, episodes) for scores in policies.values()):
            raise PWMError(f"{path}: tasks.{task}.policies must hold {episodes} returns per policy{cure}")
    for task, scores in found["random"].items():
        if not _good(scores, episodes):
            raise PWMError(f"{path}: random.{task} must hold {episodes} returns{cure}")
    return found


def _good(scores: Any, episodes: int) -> bool:
    """Whether these are valid scores of that many episodes."""
    if not isinstance(scores, dict):
        return False
    for name in ("returns", *OPTIONAL):
        values = scores.get(name, [0.0] * episodes if name in OPTIONAL else None)
        if not isinstance(values, list) or len(values) != episodes:
            return False
        if not all(type(x) in (int, float) and math.isfinite(x) for x in values):
            return False
    return True


def task_entry(policies: dict[str, Scores], random: Scores, episode_seeds: Sequence[int]) -> dict[str, Any]:
    """One task's entry in results.json, from the scores of its policies (by seed) and of random actions.

    "policy_mean" and its interval are over all policies and episodes; success has the same statistics as returns.
    """
    entry: dict[str, Any] = {}
    for name, key in (("returns", "policy"), ("success", "policy_success"), ("success_any", "policy_success_any")):
        if all(name in scores for scores in policies.values()):
            table = np.array([scores[name] for scores in policies.values()])
            entry |= {f"{key}_mean": float(table.mean()), f"{key}_ci": list(interval(table))}
    entry["random_mean"] = float(np.mean(random["returns"]))
    for name in ("success", "success_any"):
        if name in random:
            entry[f"random_{name}_mean"] = float(np.mean(random[name]))
    entry["policy_returns"] = [x for scores in policies.values() for x in scores["returns"]]
    return entry | {"episode_seeds": list(episode_seeds), "policies": policies}


def interval(table: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of `table` [policies, episodes].

    Stratified: episodes are resampled within each policy, and policies are not.
    """
    return stratified_bootstrap_ci(table.T, aggregate_mean)
