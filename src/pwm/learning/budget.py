"""Measures training time over all resumptions, and enforces a time budget."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter, process_time

from pwm.runtime.errors import PWMError


class Budget:
    """Counts seconds of training, in wall-clock and in CPU time (of all threads).

    Args:
        minutes: total wall-clock time; None for no limit.
        before: the value of `used` at the checkpoint that training resumes from.

    Raises:
        PWMError: the minutes are not above zero.
    """

    def __init__(self, minutes: float | None, before: Mapping[str, float] | None = None) -> None:
        if minutes is not None and not minutes > 0:
            raise PWMError(f"--time-budget is {minutes}, must be above 0 minutes")
        self.minutes, self._before = minutes, dict(before or {})
        self._start = (perf_counter(), process_time())

    def used(self) -> dict[str, float]:
        """`train_seconds` and `cpu_seconds` so far."""
        now = {"train_seconds": perf_counter() - self._start[0], "cpu_seconds": process_time()}
        now["cpu_seconds"] -= self._start[1]
        return {name: round(self._before.get(name, 0.0) + value, 3) for name, value in now.items()}

    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.minutes is not None and self.used()["train_seconds"] >= 60.0 * self.minutes
