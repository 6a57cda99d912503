"""The locomotion tasks for the registry. Newton and Warp are imported only when an environment is made."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pwm.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from pwm.tasks.locomotion.gymnasium_views import LocomotionTaskEnv

# Name, observations, actions, steps per episode (docs/locomotion.md).
_SIZES = (
    ("hopper", 11, 3, 1000),
    ("ant", 37, 8, 1000),
    ("anymal", 49, 12, 1000),
    ("humanoid", 76, 21, 1000),
    ("muscle-humanoid", 49, 152, 1000),
    ("double-pendulum", 6, 1, 240),
)


def _make(name: str, render_mode: str | None = None) -> LocomotionTaskEnv:
    from pwm.tasks.locomotion.gymnasium_views import LocomotionTaskEnv

    return LocomotionTaskEnv(name, render_mode)


TASKS: tuple[TaskSpec, ...] = tuple(
    TaskSpec(name, observations, actions, steps, 1, "return", partial(_make, name))
    for name, observations, actions, steps in _SIZES
)
TASK_SETS: dict[str, tuple[str, ...]] = {"locomotion": tuple(task.id for task in TASKS)}
