"""The locomotion tasks by name, with their physics."""

from __future__ import annotations

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.hopper import Hopper
from pwm.tasks.locomotion.runner import ANT
from pwm.tasks.locomotion.settings import Contact, Physics
from pwm.tasks.locomotion.task import Task

# Task, physics, and the paper's substeps between two updates of the mass matrix.
_TASKS: dict[str, tuple[Task, Physics, int]] = {
    "hopper": (Hopper(), Physics(16, 4, Contact(2e4, 1e3, 1e3, 0.9)), 16),
    "ant": (ANT, Physics(16, 4, Contact(4e4, 1e4, 3e3, 0.75)), 16),
}
PRESETS = ("default", "exact", "paper")


def task_names() -> tuple[str, ...]:
    """The names that `find_task` knows."""
    return tuple(_TASKS)


def find_task(name: str, preset: str = "default") -> tuple[Task, Physics]:
    """A task and its physics. Raises PWMError for an unknown task or preset.

    The presets differ in how often the mass matrix is updated: "default" at every fourth substep, "exact" at every
    substep, "paper" as rarely as the paper's authors did. A policy that learns under one of them may do badly under
    another, so judge it on the one that it learned on.
    """
    if name not in _TASKS:
        raise PWMError(f"unknown locomotion task '{name}'; known are {', '.join(_TASKS)}")
    if preset not in PRESETS:
        raise PWMError(f"unknown preset '{preset}'; known are {', '.join(PRESETS)}")
    task, physics, paper = _TASKS[name]
    every = {"default": physics.mass_matrix_every, "exact": 1, "paper": paper}[preset]
    return task, Physics(physics.substeps, every, physics.contact, physics.limit_stiffness, physics.step_seconds)
