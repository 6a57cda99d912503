"""The 11 tasks that the multi-task set MT30 adds to those of the DeepMind Control Suite."""

from __future__ import annotations

from functools import partial

from pwm.tasks import dm_control
from pwm.tasks.dm_control import DMControlEnv, import_suite, suite_task
from pwm.tasks.spec import TaskSpec

# The id and the sizes, in the order of MT30.
_CUSTOM = (
    ("walker-walk-backwards", 24, 6),
    ("walker-run-backwards", 24, 6),
    ("cheetah-run-backwards", 17, 6),
    ("cheetah-run-front", 17, 6),
    ("cheetah-run-back", 17, 6),
    ("cheetah-jump", 17, 6),
    ("hopper-hop-backwards", 15, 4),
    ("reacher-three-easy", 8, 3),
    ("reacher-three-hard", 8, 3),
    ("cup-spin", 8, 2),
    ("pendulum-spin", 3, 1),
)


def make_custom(id: str, render_mode: str | None = None, render_size: tuple[int, int] = (240, 320)) -> DMControlEnv:
    """The environment of a custom task, with the suite's control step, action repeat 2 and 500 agent steps.

    Raises PWMError if dm_control cannot be imported.
    """
    import_suite()
    from pwm.tasks.mt30_custom.rewards import load

    return DMControlEnv(load(id), render_mode, render_size)


TASKS: tuple[TaskSpec, ...] = tuple(suite_task(id, partial(make_custom, id), *sizes) for id, *sizes in _CUSTOM)
MT30: tuple[str, ...] = tuple(spec.id for spec in (*dm_control.TASKS, *TASKS))
TASK_SETS: dict[str, tuple[str, ...]] = {"mt30": MT30}
