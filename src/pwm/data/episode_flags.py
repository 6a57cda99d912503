"""How recordings say that an episode ended, under the names in use: by itself (termination) or cut off (truncation)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from pwm.runtime.errors import PWMError

_TERMINATIONS = ("terminations", "terminated", "terminals", "terminal", "is_terminal")
_TRUNCATIONS = ("truncations", "truncated", "timeouts", "timeout")
_EITHER = ("dones", "done", "is_last")
Array = TypeVar("Array")


def flags(path: Path, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those of the arrays that say how episodes ended, as "terminations", "truncations" and "dones".

    Raises:
        PWMError: two arrays mean the same, or `dones` does not tell terminations from time limits.
    """
    found: dict[str, Array] = {}
    for meaning in (_TERMINATIONS, _TRUNCATIONS, _EITHER):
        names = [name for name in meaning if name in arrays]
        if len(names) > 1:
            raise PWMError(f"{path}: has {names[0]} and {names[1]}, which mean the same; add --ignore {names[1]}")
        if names:
            found[meaning[0]] = arrays[names[0]]
        if names and meaning is _EITHER and len(found) == 1:
            raise PWMError(
                f"{path}: {names[0]} does not tell episodes that ended by themselves from those cut off by a time "
                f"limit; rename it to terminations or to truncations, or add truncations"
            )
    return found


def termination_flags(episode: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """The termination flags [T] of one episode, from its "terminations", "truncations" and "dones" [T].

    Raises:
        PWMError: an array holds more than 0 and 1, or an episode goes on behind its end.
    """
    found = {}
    for name in ("terminations", "truncations", "dones"):
        if name in episode:
            values = np.asarray(episode[name])
            if not bool(np.isin(values, (0, 1)).all()):
                raise PWMError(f"{where}: {name} must be 0 or 1")
            found[name] = values.astype(bool)
            for t in np.flatnonzero(found[name][:-1])[:1]:
                raise PWMError(
                    f"{where}: {name} is set at step {t} of {len(values)}, and steps follow it; "
                    "begin a new episode behind it"
                )
    ended = found.get("terminations")
    if ended is None and "dones" in found:
        ended = found["dones"] & ~found["truncations"]
    return {} if ended is None else {"terminations": ended}
