"""Progress with rate and time left: a bar on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

_TERMINAL_PERIOD = 0.1  # seconds between redraws
_PLAIN_PERIOD = 5.0  # seconds between lines
_WINDOW = 15.0  # seconds over which the rate is averaged


class Progress:
    """Context manager made by `progress`. `advance` takes about a microsecond unless it draws."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self._marks = deque([(0.0, done)])
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
        if now >= self._next:
            self._next = now + self._period
            self._draw(now)

    def __enter__(self) -> Progress:
        self._start = time.perf_counter()
        self._next = self._start + self._period
        if self._terminal:
            self._bar = _rich_bar(self.title, self.total, self.done)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw(time.perf_counter())
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, now: float) -> None:
        facts = self.facts(now - self._start)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done, facts=facts, refresh=True)
        else:
            print(f"{self.title}: {facts}", flush=True)

    def facts(self, elapsed: float) -> str:
        """The text that both forms show; `elapsed` is in seconds."""
        # The recent rate, since the phases of a step differ in speed.
        while len(self._marks) > 1 and elapsed - self._marks[1][0] >= _WINDOW:
            self._marks.popleft()
        then, before = self._marks[0]
        span = elapsed - then
        rate = (self.done - before) / span if span > 0 else 0.0
        if elapsed > self._marks[-1][0]:
            self._marks.append((elapsed, self.done))
        left = clock((self.total - self.done) / rate) if rate > 0 else "?"
        parts = [f"{self.done}/{self.total}", f"{rate:.3g}/s", f"{clock(elapsed)} elapsed", f"{left} left"]
        values = {name: x if isinstance(x, str) else f"{float(x):.4g}" for name, x in self._values.items()}
        return "  ".join(parts + [f"{name} {text}" for name, text in values.items()])


def progress(title: str, total: int, done: int = 0) -> Progress:
    """Show the progress of `total` steps, starting at `done`: `with progress("Learn", 9) as bar:`."""
    return Progress(title, total, done)


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
