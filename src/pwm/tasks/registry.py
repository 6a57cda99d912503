"""Tasks by name, and named sets of them.

A family of tasks is a module that defines `TASKS` (a sequence of `TaskSpec`) and `TASK_SETS` (set name -> ids in order)
and is listed in `_FAMILIES`. Users add tasks by `register_task`, called in their program or in code that the
environment variable PWM_TASKS names (`own_tasks.py`).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable

from pwm.runtime.errors import PWMError
from pwm.tasks import own_tasks
from pwm.tasks.spec import TaskSpec

# Imported at the first look-up; none may import its simulator before an environment is made.
_FAMILIES = ("pwm.tasks.dm_control", "pwm.tasks.mt30_custom", "pwm.tasks.metaworld", "pwm.tasks.locomotion.family")

_tasks: dict[str, TaskSpec] = {}
_sets: dict[str, tuple[str, ...]] = {}
_loaded: set[str] = set()


def register_task(spec: TaskSpec, replace: bool = False) -> TaskSpec:
    """Register `spec` under its id, and return it.

    Registering an equal spec again only replaces its `make`. Raises PWMError if the id belongs to a different task and
    `replace` is False.
    """
    _load_families()
    _add_task(spec, replace)
    return spec


def register_task_set(name: str, ids: Iterable[str]) -> None:
    """Register an ordered set of tasks. Its ids are looked up when the set is used."""
    _load_families()
    _sets[name] = tuple(ids)


def get_task(id: str) -> TaskSpec:
    """The task with that id. Raises PWMError, suggesting similar ids, if there is none."""
    _load_families()
    if id not in _tasks:
        hint = f" (for tasks of your own set {own_tasks.VARIABLE}, see docs/tasks.md)"
        raise PWMError(f"unknown task '{id}'{_closest(id, _tasks)}{'' if own_tasks.named_modules() else hint}")
    return _tasks[id]


def list_tasks() -> tuple[str, ...]:
    """The ids of all tasks, in order of registration."""
    _load_families()
    return tuple(_tasks)


def task_set(name: str) -> tuple[TaskSpec, ...]:
    """The tasks of a named set, in its order. Raises PWMError if the set or one of its tasks is unknown."""
    _load_families()
    if name not in _sets:
        raise PWMError(f"unknown task set '{name}'{_closest(name, _sets)}")
    return tuple(get_task(id) for id in _sets[name])


def list_task_sets() -> tuple[str, ...]:
    """The names of all task sets."""
    _load_families()
    return tuple(_sets)


def _load_families() -> None:
    for module in _FAMILIES:
        if module not in _loaded:
            family = importlib.import_module(module)
            _loaded.add(module)
            for spec in family.TASKS:
                _add_task(spec)
            _sets.update(family.TASK_SETS)
    own = [name for name in own_tasks.named_modules() if name not in _loaded]
    _loaded.update(own)  # before importing them, since registering their tasks calls this function
    try:
        for name in own:
            own_tasks.import_tasks(name)
    except PWMError:
        _loaded.difference_update(own)
        raise


def _add_task(spec: TaskSpec, replace: bool = False) -> None:
    known = _tasks.get(spec.id)
    if known is not None and known != spec and not replace:
        raise PWMError(f"task '{spec.id}' is already registered with other sizes; choose another id or replace=True")
    _tasks[spec.id] = spec


def _closest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if close:
        return f"; did you mean {', '.join(close)}?"
    names = list(known)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"; known are {', '.join(names[:10])}{more}"
