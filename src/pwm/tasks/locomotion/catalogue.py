"""The locomotion tasks by name, with their physics."""

from __future__ import annotations

from dataclasses import replace

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.runner import ANT, ANYMAL, HUMANOID, MUSCLE_HUMANOID
from pwm.tasks.locomotion.settings import Contact, Physics
from pwm.tasks.locomotion.task import DoublePendulum, Hopper, Task

# Task, physics, and the paper's substeps between two updates of the mass matrix.
_TASKS: dict[str, tuple[Task, Physics, int]] = {
    "hopper": (Hopper(), Physics(16, 1, Contact(2e4, 1e3, 1e3, 0.9)), 16),
    "ant": (ANT, Physics(16, 1, Contact(4e4, 1e4, 3e3, 0.75)), 16),
    "anymal": (ANYMAL, Physics(16, 1, Contact(1e4, 1e4, 1e3, 0.75)), 16),
    "humanoid": (HUMANOID, Physics(48, 1, Contact(2e4, 5e3, 1e3, 0.75)), 48),
    "muscle-humanoid": (MUSCLE_HUMANOID, Physics(48, 1, Contact(5e3, 2e3, 1e3, 0.5)), 8),
    "double-pendulum": (DoublePendulum(), Physics(16, 1, None), 16),
}
PRESETS = ("exact", "paper")


def task_names() -> tuple[str, ...]:
    """The names that `find_task` knows."""
    return tuple(_TASKS)


def find_task(name: str, preset: str = "exact") -> tuple[Task, Physics]:
    """A task and its physics. Raises PWMError for an unknown task or preset.

    The presets differ in how often the mass matrix is updated: "exact" at every substep, "paper" as in the paper. A
    policy trained with one may do badly with the other, so evaluate it with the same one.
    """
    if name not in _TASKS:
        raise PWMError(f"unknown locomotion task '{name}'; known are {', '.join(_TASKS)}")
    if preset not in PRESETS:
        raise PWMError(f"unknown preset '{preset}'; known are {', '.join(PRESETS)}")
    task, physics, paper = _TASKS[name]
    return task, replace(physics, mass_matrix_every=paper) if preset == "paper" else physics
