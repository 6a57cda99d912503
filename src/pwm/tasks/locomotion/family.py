"""The locomotion tasks for the registry. Newton and Warp are imported only when an environment is made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pwm.tasks.locomotion.mass_files import read_mass
from pwm.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from pwm.tasks.locomotion.environment import LocomotionEnv
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


@dataclass(frozen=True)
class LocomotionMaker:
    """Makes environments of a task: one robot (`TaskSpec.make`), or a differentiable vector environment."""

    name: str
    mass_files: tuple[str, str] | None = None
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    """Settings for `make_locomotion` that override the task's own."""
    packages: ClassVar[tuple[str, ...]] = ("newton", "warp-lang")
    """Packages of the simulator, beyond the library's own dependencies."""

    @property
    def files(self) -> tuple[str, ...]:
        """The user's files that the robot is built from."""
        return self.mass_files or ()

    def __call__(self, render_mode: str | None = None) -> LocomotionTaskEnv:
        from pwm.tasks.locomotion.gymnasium_views import LocomotionTaskEnv

        return LocomotionTaskEnv(self.name, render_mode, mass_files=self.mass_files, **self.settings)

    def many(self, num_envs: int, **settings: Any) -> LocomotionEnv:
        """`make_locomotion` with these settings."""
        from pwm.tasks.locomotion.environment import make_locomotion

        return make_locomotion(self.name, num_envs, mass_files=self.mass_files, **self.settings | settings)


TASKS: tuple[TaskSpec, ...] = tuple(
    TaskSpec(name, observations, actions, steps, 1, "return", LocomotionMaker(name))
    for name, observations, actions, steps in _SIZES
)
TASK_SETS: dict[str, tuple[str, ...]] = {"locomotion": tuple(task.id for task in TASKS)}


def mass_humanoid(skeleton: str | Path, muscles: str | Path, task_id: str = "mass-humanoid") -> TaskSpec:
    """The task `muscle-humanoid` with MASS's skeleton and muscle files, for `pwm.register_task`.

    Raises PWMError for an invalid file (`mass_files.read_mass`).
    """
    from pwm.tasks.locomotion.runner import MUSCLE_HUMANOID

    made = read_mass(skeleton, muscles)
    task = replace(MUSCLE_HUMANOID, start_angles=(0.0,) * made.hinges, muscles=len(made.units))
    make = LocomotionMaker(task.name, (str(Path(skeleton).absolute()), str(Path(muscles).absolute())))
    return TaskSpec(task_id, task.observation_dim, task.action_dim, task.episode_length, 1, "return", make)
