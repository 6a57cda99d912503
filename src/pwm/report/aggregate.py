"""Reads and checks the aggregate in results.json, and formats it as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pwm.evaluation.aggregate import OVER_SEEDS, OVER_TASKS, OVER_TASKS_PUBLISHED, STATISTICS
from pwm.report.record import is_number
from pwm.report.words import ABSENT, aligned, count
from pwm.runtime.errors import PWMError

LABELS = {"iqm": "IQM", "mean": "Mean", "median": "Median"}
UNDEFINED = "undefined"
Interval = tuple[float, float]


@dataclass(frozen=True)
class TaskScores:
    """One task's scores on the common scale."""

    task: str
    scale: str
    """How the score is computed, e.g. "return / 1000"."""
    runs: list[float]
    """One score per policy."""
    mean: float


@dataclass(frozen=True)
class Aggregate:
    """Scores aggregated over tasks. `statistics` is empty if no task has a score on a common scale."""

    runs: int
    """Policies per task."""
    statistics: dict[str, tuple[float, dict[str, Interval | None]]]
    """"iqm", "mean", "median" -> (value, intervals by name)."""
    scores: list[TaskScores]
    profile: tuple[list[float], list[float]]
    """(thresholds, fraction of runs above)."""
    notes: list[str]

    @property
    def intervals(self) -> list[str]:
        """Names of the intervals that the statistics have."""
        known = {name for _, intervals in self.statistics.values() for name in intervals}
        return [name for name in (OVER_SEEDS, OVER_TASKS, OVER_TASKS_PUBLISHED) if name in known]


def read_aggregate(results: Any, source: str | Path = "results") -> Aggregate | None:
    """The aggregate in the content of results.json; None if there is none (an older or unfinished evaluation), or
    nothing to aggregate: one task without a common scale, or with one policy.

    Raises:
        PWMError: a field is missing or of the wrong kind; the message names it.
    """
    found = results.get("aggregate") if isinstance(results, dict) else None
    if found is None:
        return None

    def take(place: Any, name: str, good: Callable[[Any], bool], what: str) -> Any:
        value = place.get(name) if isinstance(place, dict) else None
        if not good(value):
            raise PWMError(
                f"{source}: aggregate: {name} is {value!r:.60}, expected {what}; "
                "delete the file and run 'pwm evaluate' again"
            )
        return value

    runs = take(found, "runs", lambda x: is_number(x) and x >= 0, "a number of policies")
    notes = take(found, "notes", _is_list(lambda x: isinstance(x, str)), "a list of sentences")
    scores = []
    for task, entry in take(found, "normalised", lambda x: isinstance(x, dict), "an object").items():
        by_seed = take(entry, "runs", lambda x: isinstance(x, dict) and _is_list(is_number)([*x.values()]), "scores")
        scale = take(entry, "scale", lambda x: isinstance(x, str), "text")
        scores.append(TaskScores(task, scale, [*by_seed.values()], take(entry, "mean", is_number, "a number")))
    if len(scores) == 1 and len(scores[0].runs) == 1:  # every statistic would be this one number
        scores, notes = [], [text for text in notes if "is undefined" not in text]
    if not scores and len(results.get("tasks") or {}) == 1:
        return None
    statistics: dict[str, tuple[float, dict[str, Interval | None]]] = {}
    profile: tuple[list[float], list[float]] = ([], [])
    if scores:
        for name in STATISTICS:
            entry = take(found, name, lambda x: isinstance(x, dict), "an object")
            value = take(entry, "value", is_number, "a number")
            given = [key for key in (OVER_SEEDS, OVER_TASKS, OVER_TASKS_PUBLISHED) if key in entry]
            pairs = {key: take(entry, key, _is_interval, "[low, high] or null") for key in given}
            statistics[name] = (value, {key: pair and (float(pair[0]), float(pair[1])) for key, pair in pairs.items()})
        whole = take(found, "profile", lambda x: isinstance(x, dict), "an object")
        thresholds, fraction = (take(whole, k, _is_list(is_number), "numbers") for k in ("thresholds", "fraction"))
        profile = (thresholds, fraction)
    return Aggregate(int(runs), statistics, scores, profile, notes)


def title(aggregate: Aggregate) -> str:
    """What the statistics are over: "30 tasks, three policies each"."""
    return f"{count(len(aggregate.scores), 'task')}, {count(aggregate.runs, 'policy', 'policies')} each"


def aggregate_rows(aggregate: Aggregate) -> list[tuple[str, ...]]:
    """One row per statistic: name, value, and intervals in the order of `aggregate.intervals`."""
    rows = []
    for name, (value, intervals) in aggregate.statistics.items():
        cells = [interval_text(intervals[key]) if key in intervals else ABSENT for key in aggregate.intervals]
        rows.append((LABELS[name], score_text(value), *cells))
    return rows


def aggregate_text(results: dict[str, Any]) -> str:
    """The aggregate as text for the terminal; empty if results.json has none.

    Raises:
        PWMError: a field is missing or of the wrong kind; the message names it.
    """
    aggregate = read_aggregate(results)
    if aggregate is None:
        return ""
    lines = []
    if aggregate.statistics:
        lines.append(f"Normalised scores of {title(aggregate)}:")
        lines.append(aligned([("", "value", *aggregate.intervals), *aggregate_rows(aggregate)]))
    return "\n".join([*lines, *aggregate.notes])


def score_text(value: float) -> str:
    """A normalised score, with three decimals."""
    return f"{value:.3f}".replace("-", "−")


def interval_text(interval: Interval | None) -> str:
    """An interval of scores, or "undefined"."""
    return UNDEFINED if interval is None else f"{score_text(interval[0])} to {score_text(interval[1])}"


def _is_interval(value: Any) -> bool:
    return value is None or (_is_list(is_number)(value) and len(value) == 2)


def _is_list(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(good, value))
