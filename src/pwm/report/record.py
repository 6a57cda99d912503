"""Reads and checks the files of a run folder for the page and the table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pwm.runtime.checkpoint import tensor_sizes
from pwm.runtime.errors import PWMError
from pwm.runtime.files import read_json
from pwm.runtime.run_folder import read_run_file

SUCCESS = ("policy_success_mean", "policy_success_any_mean")
NEAR_BEST = 0.9
"""A policy is near the best of its data when it reaches this fraction of their mean return."""


@dataclass(frozen=True)
class TaskResult:
    """One row of the results table: mean returns per episode of one task, and its success."""

    task: str
    policy: float
    """Mean over the evaluation's episodes."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval of that mean, over episodes."""
    data: float | None
    """Mean over all episodes of the data."""
    best: float | None
    """Mean over the ten best episodes of the data."""
    random: float | None
    """Mean of uniformly random actions."""
    episodes: int | None
    film_note: str | None = None
    success: float | None = None
    """Fraction of the episodes with success at their last step; None if the task does not report it."""
    success_any: float | None = None
    """The same, at any step."""

    @property
    def ratio(self) -> float | None:
        """Policy mean divided by that of the data's best ten; None if that is unknown or not positive."""
        return self.policy / self.best if self.best is not None and self.best > 0 else None

    @property
    def beats_data(self) -> bool | None:
        """Whether the policy's mean is above the data's; None if that is unknown."""
        return None if self.data is None else self.policy > self.data

    @property
    def near_best(self) -> bool | None:
        """Whether the policy reaches 90 % of the data's best ten (110 % if that is negative)."""
        return None if self.best is None else self.policy >= self.best - (1 - NEAR_BEST) * abs(self.best)


@dataclass(frozen=True)
class RunRecord:
    """The content of a run folder. Parts that do not exist yet are empty."""

    path: Path
    run: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Any] | None = None
    rows: list[TaskResult] = field(default_factory=list)
    parameters: int | None = None
    """Number of parameters of the world model."""

    @property
    def tasks(self) -> list[str]:
        """Task ids in the run's order, followed by those that only the results have."""
        listed = [task["id"] for task in self.run.get("tasks") or [] if isinstance(task, dict) and "id" in task]
        return list(dict.fromkeys([*listed, *(row.task for row in self.rows)]))

    @property
    def trained_in_simulator(self) -> bool:
        """Whether its policies are baselines, trained in the simulator without data and world model."""
        return isinstance((self.run.get("config") or {}).get("train"), dict)

    @property
    def learned_online(self) -> bool:
        """Whether model and policies learned from real episodes of their own."""
        return isinstance((self.run.get("config") or {}).get("online"), dict)

    def lines(self, phase: str) -> list[dict[str, Any]]:
        """The metrics of one phase, in the order of writing."""
        return [line for line in self.metrics if line.get("phase") == phase]

    def updates(self, phase: str) -> int | None:
        """The last step that a phase logged, or None."""
        return max((int(line["step"]) for line in self.lines(phase) if is_number(line.get("step"))), default=None)

    def setting(self, name: str) -> Any:
        """The first setting of this name anywhere in the run's configuration, or None."""
        return next(find(self.run.get("config"), name), None)

    @property
    def imported_from(self) -> str | None:
        """Name of the checkpoint that the world model was imported from; None if the run trained its own."""
        origin = (self.run.get("config") or {}).get("import")
        return str(origin.get("file", "a checkpoint")) if isinstance(origin, dict) else None

    def wall_seconds(self) -> dict[str, float]:
        """Seconds per part of the run, including `total` if known."""
        return {key: float(value) for key, value in ((self.results or {}).get("wall_seconds") or {}).items()}

    def data_size(self) -> tuple[int | None, int | None]:
        """(episodes, transitions) of this run's tasks, from run.json or else from the store's manifest."""
        data = self.run.get("data") or {}
        if is_number(data.get("episodes")) and is_number(data.get("transitions")):
            return int(data["episodes"]), int(data["transitions"])
        try:
            manifest = read_json(Path(str(data["path"])) / "manifest.json")
            tasks = [task for task in manifest["tasks"] if task["id"] in self.tasks]
            return sum(int(task["episodes"]) for task in tasks), sum(int(task["transitions"]) for task in tasks)
        except (PWMError, KeyError, TypeError, ValueError):
            return None, None


def is_number(value: Any) -> bool:
    """Whether this is a finite int or float, and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def find(tree: Any, name: str) -> Iterator[Any]:
    """Values under the key `name` in nested dictionaries, outermost first."""
    if isinstance(tree, dict):
        if name in tree:
            yield tree[name]
        for value in tree.values():
            yield from find(value, name)


def read_run(path: str | Path) -> RunRecord:
    """Read a run folder; only run.json is required.

    Raises:
        PWMError: the folder or run.json is missing, or a file is damaged.
    """
    from pwm.runtime.metrics import read_metrics

    path = Path(path)
    if not path.is_dir():
        raise PWMError(f"{path}: no such run folder; check the path")
    if not (path / "run.json").is_file():
        raise PWMError(f"{path}: not a run folder (it has no run.json); name the folder given to --out")
    run = read_run_file(path)
    metrics = read_metrics(path) if (path / "metrics.jsonl").is_file() else []
    results, rows = None, []
    if (path / "results.json").is_file():
        results = read_json(path / "results.json")
        rows = task_results(results, path / "results.json")
    return RunRecord(path, run, metrics, results, rows, count_parameters(path / "world_model" / "weights.safetensors"))


def task_results(results: Any, source: str | Path = "results") -> list[TaskResult]:
    """The rows of results.json, checked.

    Raises:
        PWMError: a field is missing or of the wrong kind; the message names it.
    """

    def refuse(what: str) -> PWMError:
        return PWMError(f"{source}: {what}; delete the file and run 'pwm evaluate' again")

    if not isinstance(results, dict) or not isinstance(results.get("tasks"), dict):
        raise refuse("'tasks' is missing or not an object")
    wall = results.get("wall_seconds") or {}
    if not isinstance(wall, dict) or not all(is_number(value) and value >= 0 for value in wall.values()):
        raise refuse("'wall_seconds' must hold seconds by name")

    rows = []
    for task, entry in results["tasks"].items():
        if not isinstance(entry, dict):
            raise refuse(f"tasks.{task} is not an object")
        for name in ("policy_mean", "data_mean", "data_best10_mean", "random_mean", "episodes", *SUCCESS):
            value = entry.get(name)
            if not is_number(value) and (name == "policy_mean" or value is not None):
                raise refuse(f"tasks.{task}.{name} is {value!r}, expected a number")
        interval = entry.get("policy_ci")
        if interval is not None:
            if not isinstance(interval, list | tuple) or len(interval) != 2 or not all(map(is_number, interval)):
                raise refuse(f"tasks.{task}.policy_ci is {interval!r}, expected [low, high]")
            interval = (float(interval[0]), float(interval[1]))
        note = entry.get("film_note")
        means = [entry.get(name) for name in ("data_mean", "data_best10_mean", "random_mean")]
        episodes = entry.get("episodes", results.get("episodes"))
        episodes = int(episodes) if is_number(episodes) else None
        success = [entry.get(name) for name in SUCCESS]
        rows.append(
            TaskResult(str(task), entry["policy_mean"], interval, *means, episodes, note and str(note), *success)
        )
    return rows


def unknown_columns(rows: Iterable[TaskResult]) -> set[str]:
    """The columns, about data or success, for which no row has a value."""
    rows, unknown = list(rows), set()
    if all(row.data is None and row.best is None for row in rows):
        unknown |= {"data", "best", "ratio", "beats_data", "near_best"}
    if all(row.success is None for row in rows):
        unknown |= {"success", "success_any"}
    return unknown


def count_parameters(weights: Path) -> int | None:
    """Number of parameters of the world model in a file, from its header; None if there is no such file.

    Does not count buffers (the scales of observations and rewards).

    Raises:
        PWMError: the file is damaged.
    """
    if not weights.is_file():
        return None
    buffers = ("model.observation_", "model.reward_scale")
    return sum(n for name, n in tensor_sizes(weights).items() if not name.startswith(buffers))
