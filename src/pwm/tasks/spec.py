"""The description of a task: its sizes, its score, and how to build its environment."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pwm.runtime.errors import PWMError

if TYPE_CHECKING:
    import gymnasium

# A task's id names its folder in an episode store and its policy files.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class TaskSpec:
    """One task: its name, its sizes, and how to build its environment.

    id              name, also a folder name: letters, digits, '.', '_', '-'
    observation_dim length of the flat observation
    action_dim      length of the action, whose entries are in [-1, 1]
    episode_length  agent steps (one agent step = `action_repeat` native steps)
    action_repeat   native steps each action is held for; their rewards are summed
    score           what is reported: the episode's "return", or "success" (`info["success"]` of its last step)
    make            `make(render_mode=None)` builds a `gymnasium.Env` with float32 Box observations [observation_dim]
                    and Box(-1, 1) actions [action_dim]. After `reset(seed=s)` the episode is a function of s and the
                    actions; `step` repeats the action, sums the reward and truncates at `episode_length`;
                    `render()` gives uint8 [H, W, 3] with `render_mode="rgb_array"`. Ignored by `==` and `as_dict()`.
                    Its attribute `packages`, if any, names the simulator's packages, to record their versions;
                    `files`, the user's files that it reads, to notice when they change.
    return_range    (low, high): the returns that are normalised to 0 and 1 when tasks are compared, or None.
                    Not needed if the score is success.

    Raises PWMError if a field is out of range.
    """

    id: str
    observation_dim: int
    action_dim: int
    episode_length: int
    action_repeat: int
    score: Literal["return", "success"]
    make: Callable[..., gymnasium.Env] = field(compare=False, repr=False)
    return_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise PWMError(
                f"task id {self.id!r}: use letters, digits, '.', '_' and '-' only, starting with a letter or digit"
            )
        for name in ("observation_dim", "action_dim", "episode_length", "action_repeat"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise PWMError(f"task {self.id}: {name} must be a whole number of at least 1, got {value!r}")
        if self.score not in ("return", "success"):
            raise PWMError(f"task {self.id}: score must be 'return' or 'success', got {self.score!r}")
        if not callable(self.make):
            raise PWMError(f"task {self.id}: make must be a function that builds the environment, got {self.make!r}")
        if self.return_range is not None and not _is_range(self.return_range):
            raise PWMError(
                f"task {self.id}: return_range must be two finite numbers, low below high, got {self.return_range!r}"
            )

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages of the task's simulator, beyond the library's own dependencies."""
        return tuple(getattr(self.make, "packages", ()))

    @property
    def files(self) -> tuple[str, ...]:
        """Files of the user's that the environment is built from."""
        return tuple(getattr(self.make, "files", ()))

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-serialisable values: all but `make`, and `return_range` if there is one."""
        facts = {name: value for name, value in vars(self).items() if name not in ("make", "return_range")}
        return facts if self.return_range is None else facts | {"return_range": list(self.return_range)}


def _is_range(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in value)
    return numbers and value[0] < value[1]
