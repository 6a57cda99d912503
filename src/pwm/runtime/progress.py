"""Progress with rate and time left: a bar on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_TERMINAL_PERIOD = 0.1  # seconds between redraws
_PLAIN_PERIOD = 5.0  # seconds between lines
_WINDOW = 15.0  # seconds over which the rate is averaged


class Phase(NamedTuple):
    """Steps of one kind, which cost the same; a step of another phase costs more or less."""

    name: str
    steps: int
    cost: float
    """Of one step, in any unit that the phases share. Time is measured; this tells the time of phases to come."""


class Progress:
    """Context manager made by `progress`. `advance` takes about a microsecond unless it draws."""

    def __init__(self, title: str, total: int, done: int = 0, phases: Sequence[Phase] = ()) -> None:
        self.title, self.total, self.done = title, total, done
        self._phases = [phase for phase in phases if phase.steps] or [Phase("", total, 1.0)]
        self._at = self._first = 0  # number of the present phase, and its first step
        self._pace = 0.0  # seconds per unit of cost in the phase before
        self._marks = deque([(0.0, done)])
        self._enter_phase(0.0)
        self._terminal = sys.stdout.isatty()
        self._period = _TERMINAL_PERIOD if self._terminal else _PLAIN_PERIOD
        self._values: Mapping[str, Any] = {}
        self._bar: Any = None
        self._start = self._next = 0.0

    def advance(self, steps: int = 1, **values: Any) -> None:
        """Advance by `steps`, and show `values` (numbers, one-element tensors, text) until they are replaced.

        Values are read only when drawing, so that a tensor on a GPU does not cause a host sync on every call.
        """
        self.done += steps
        if values:
            self._values = {**self._values, **values}
        now = time.perf_counter()
        if self.done >= self._first + self._phases[self._at].steps:
            self._enter_phase(now - self._start)
        if now >= self._next:
            self._next = now + self._period
            self._draw(now)

    def drop(self, steps: int = 1) -> None:
        """Of the last steps, so many will not be done."""
        self.total -= steps
        last = self._phases[-1]
        self._phases[-1] = last._replace(steps=last.steps - steps)

    def __enter__(self) -> Progress:
        self._start = time.perf_counter()
        self._next = self._start + self._period
        if self._terminal:
            self._bar = _rich_bar(self.title, self.total, self.done)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.total:  # where all steps were dropped there is nothing to tell
            self._draw(time.perf_counter())
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, now: float) -> None:
        facts = self.facts(now - self._start)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done, total=self.total, facts=facts, refresh=True)
        else:
            print(f"{self.title}: {facts}", flush=True)

    def facts(self, elapsed: float) -> str:
        """The text that both forms show; `elapsed` is in seconds."""
        rate = self._rate(elapsed)
        if elapsed > self._marks[-1][0]:
            self._marks.append((elapsed, self.done))
        phase = self._phases[self._at]
        pace = 1.0 / (rate * phase.cost) if rate > 0 else self._pace
        left = clock(self._cost_left() * pace) if pace > 0 or self.done >= self.total else "?"
        parts = [f"{self.done}/{self.total}", f"{rate:.3g}/s", f"{clock(elapsed)} elapsed", f"{left} left"]
        if len(self._phases) > 1:
            parts.insert(1, f"{phase.name} {self.done - self._first}/{phase.steps}")
        values = {name: x if isinstance(x, str) else f"{float(x):.4g}" for name, x in self._values.items()}
        return "  ".join(parts + [f"{name} {text}" for name, text in values.items()])

    def _rate(self, elapsed: float) -> float:
        """Recent steps per second, of the present phase alone."""
        while len(self._marks) > 1 and elapsed - self._marks[1][0] >= _WINDOW:
            self._marks.popleft()
        then, before = self._marks[0]
        return (self.done - before) / (elapsed - then) if elapsed > then else 0.0

    def _enter_phase(self, elapsed: float) -> None:
        """Find the phase of the next step; the last one stays when all steps are done."""
        number = first = 0
        while number + 1 < len(self._phases) and self.done >= first + self._phases[number].steps:
            first += self._phases[number].steps
            number += 1
        if number != self._at:
            rate = self._rate(elapsed)
            self._pace = 1.0 / (rate * self._phases[self._at].cost) if rate > 0 else self._pace
            self._at, self._first = number, first
            self._marks = deque([(elapsed, self.done)])

    def _cost_left(self) -> float:
        """Of all steps to come."""
        left, last = 0.0, 0
        for phase in self._phases:
            last += phase.steps
            left += phase.cost * min(max(last - self.done, 0), phase.steps)
        return left


def progress(title: str, total: int, done: int = 0, phases: Sequence[Phase] = ()) -> Progress:
    """Show the progress of `total` steps, starting at `done`: `with progress("Learn", 9) as bar:`.

    `phases` are parts of the steps that differ in speed, in their order: the line names the present one, and the time
    left is that of all of them.
    """
    return Progress(title, total, done, phases)


def clock(seconds: float) -> str:
    """65 seconds as 1:05, and 3665 as 1:01:05."""
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def _rich_bar(title: str, total: int, done: int) -> Any:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"))
    bar = RichProgress(*columns, auto_refresh=False)
    bar.add_task(title, total=total, completed=done, facts="")
    return bar
