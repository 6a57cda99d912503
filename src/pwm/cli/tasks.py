"""`pwm tasks`: lists the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from pwm.cli.parse import counted, parse
from pwm.runtime.errors import PWMError

_COLUMNS = ("task", "observation", "action", "episode", "repeat", "score")
_OWN = "in no set"


@dataclass(frozen=True)
class Tasks:
    """List the tasks with the widths of observation and action, the episode length in agent steps, the action repeat,
    and the score. Includes your own tasks if PWM_TASKS names the Python that registers them (see docs/tasks.md)."""

    parts: tyro.conf.Positional[tuple[str, ...]] = ()
    """Only tasks whose names contain one of these strings, such as walker; none lists all."""
    set: str | None = None
    """Only the tasks of this set."""
    json: bool = False
    """Print all facts as a JSON list, with the sets that each task is in."""


def main(arguments: Sequence[str]) -> int:
    args = parse(Tasks, "tasks", arguments)

    from pwm.tasks import registry

    ids = registry.list_tasks() if args.set is None else [spec.id for spec in registry.task_set(args.set)]
    sets = {name: [spec.id for spec in registry.task_set(name)] for name in registry.list_task_sets()}
    found = [id for id in ids if not args.parts or any(part.lower() in id.lower() for part in args.parts)]
    if not found:
        where = f" in the set {args.set}" if args.set else ""
        raise PWMError(f"no task{where} has {' or '.join(args.parts)} in its name; pwm tasks lists all")
    facts = [registry.get_task(id).as_dict() | {"sets": [name for name in sets if id in sets[name]]} for id in found]
    if args.json:
        import json

        print(json.dumps(facts, indent=2))
    else:
        print(_table(facts, sets))
    return 0


def _table(facts: list[dict[str, Any]], sets: dict[str, list[str]]) -> str:
    """Every task once, under the smallest set that contains it."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for task in facts:
        home = min(task["sets"], key=lambda name: len(sets[name]), default=_OWN)
        cells = (task["id"], task["observation_dim"], task["action_dim"], task["episode_length"], task["action_repeat"])
        groups.setdefault(home, []).append((*map(str, cells), task["score"]))
    rows = [row for group in groups.values() for row in group]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows)]
    lines = [_line(_COLUMNS, widths)]
    for home, group in groups.items():
        lines += ["", f"{home}:", *(_line(row, widths) for row in group)]
    sizes = ", ".join(f"{name} ({len(ids)})" for name, ids in sets.items())
    return "\n".join([*lines, "", f"{counted(len(rows), 'task')}; all sets: {sizes}"])


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Name and score left-aligned, numbers right-aligned."""
    name, *numbers, score = cells
    middle = "  ".join(number.rjust(width) for number, width in zip(numbers, widths[1:-1]))
    return f"  {name.ljust(widths[0])}  {middle}  {score}"
