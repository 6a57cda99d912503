"""What the library needs to know about a task, and how to build its environment."""

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
    """One task: a name, its sizes, and a recipe for its environment.

    id              name, also a folder name: letters, digits, '.', '_', '-'
    observation_dim length of the flat observation
    action_dim      number of actions, each in [-1, 1]
    episode_length  agent steps (one agent step = `action_repeat` native steps)
    action_repeat   native steps each action is held for; their rewards are summed
    score           what is reported: the episode's "return", or "success" (`info["success"]` of its last step)
    make            `make(render_mode=None)` builds a `gymnasium.Env` with float32 Box observations [observation_dim]
                    and Box(-1, 1) actions [action_dim]. `reset(seed=s)` makes the episode a function of s alone;
                    `step` repeats the action, sums the reward and truncates at `episode_length`;
                    `render()` gives uint8 [H, W, 3] where made with `render_mode="rgb_array"`.
                    Left out of comparison and of `as_dict()`.
                    An attribute `packages` of it names what the simulator comes from, for the record of versions.
    return_range    (low, high): the returns that count as 0 and as 1 where tasks are compared; none where there is no
                    such scale. A task whose score is success needs none.

    Raises PWMError where a field is out of range.
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
        """Packages that the task's simulator comes from, beside those that this library always needs."""
        return tuple(getattr(self.make, "packages", ()))

    def as_dict(self) -> dict[str, Any]:
        """What describes the task, ready for JSON: all fields but `make`, and `return_range` where there is one."""
        facts: dict[str, Any] = {
            "id": self.id,
            "observation_dim": self.observation_dim,
            "action_dim": self.action_dim,
            "episode_length": self.episode_length,
            "action_repeat": self.action_repeat,
            "score": self.score,
        }
        return facts if self.return_range is None else facts | {"return_range": list(self.return_range)}


def _is_range(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in value)
    return numbers and value[0] < value[1]
