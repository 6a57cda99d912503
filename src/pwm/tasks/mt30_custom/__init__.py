"""The 11 tasks that the multi-task set MT30 adds to those of the DeepMind Control Suite.

Each is a model of the suite with its own reward and, in some cases, its own initial state or arm. There is a module
per model, which defines `load(task)`; it imports the suite, so it is imported only when an environment is made.
"""

from __future__ import annotations

import importlib
from functools import partial

from pwm.tasks import dm_control
from pwm.tasks.dm_control import ACTION_REPEAT, EPISODE_LENGTH, RETURN_RANGE, DMControlEnv, import_suite
from pwm.tasks.spec import TaskSpec

# The multi-task id, the module and its task, and the sizes, in the order of MT30.
_CUSTOM = (
    ("walker-walk-backwards", "walker", "walk-backwards", 24, 6),
    ("walker-run-backwards", "walker", "run-backwards", 24, 6),
    ("cheetah-run-backwards", "cheetah", "run-backwards", 17, 6),
    ("cheetah-run-front", "cheetah", "run-front", 17, 6),
    ("cheetah-run-back", "cheetah", "run-back", 17, 6),
    ("cheetah-jump", "cheetah", "jump", 17, 6),
    ("hopper-hop-backwards", "hopper", "hop-backwards", 15, 4),
    ("reacher-three-easy", "reacher", "three-easy", 8, 3),
    ("reacher-three-hard", "reacher", "three-hard", 8, 3),
    ("cup-spin", "ball_in_cup", "spin", 8, 2),
    ("pendulum-spin", "pendulum", "spin", 3, 1),
)


def make_custom(
    module: str, task: str, render_mode: str | None = None, render_size: tuple[int, int] = (240, 320)
) -> DMControlEnv:
    """The environment of a custom task, with the suite's control step, action repeat 2 and 500 agent steps.

    Raises PWMError if dm_control cannot be imported.
    """
    import_suite()
    environment = importlib.import_module(f"{__name__}.{module}").load(task)
    return DMControlEnv(environment, render_mode=render_mode, render_size=render_size)


def _spec(id: str, module: str, task: str, observation_dim: int, action_dim: int) -> TaskSpec:
    make = partial(make_custom, module, task)
    return TaskSpec(id, observation_dim, action_dim, EPISODE_LENGTH, ACTION_REPEAT, "return", make, RETURN_RANGE)


TASKS: tuple[TaskSpec, ...] = tuple(_spec(*row) for row in _CUSTOM)
MT30: tuple[str, ...] = tuple(spec.id for spec in (*dm_control.TASKS, *TASKS))
TASK_SETS: dict[str, tuple[str, ...]] = {"mt30": MT30}
