"""Metrics of a run: one JSON line per measurement, and the same numbers in TensorBoard."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, cannot_write, parse_json, read_bytes, to_json, write_atomic

_FILE = "metrics.jsonl"
_KINDS = {"phase": str, "task": str, "seed": int}  # all else are numbers
_RESERVED = ("phase", "step", "wall_seconds", "task", "seed")


class MetricsLog:
    """Appends to `folder/metrics.jsonl`, and to TensorBoard event files under `folder/tensorboard/<phase>`.

    An existing log is continued: `wall_seconds` counts on from its last line, and an incomplete last line is dropped.
    TensorBoard is imported at the first write, and silently skipped if it is not installed.
    """

    def __init__(self, folder: PathLike, tensorboard: bool = True) -> None:
        self.folder = Path(folder)
        self._path = self.folder / _FILE
        self._tensorboard = tensorboard
        self._writers: dict[str, Any] = {}
        self._purge_step: dict[str, int] = {}
        self._again: dict[str, list[dict[str, Any]]] = {}
        self._open()
        self._seconds_before = max((line.get("wall_seconds", 0.0) for line in read_metrics(self.folder)), default=0.0)
        self._start = time.perf_counter()

    def write(
        self, phase: str, step: int, values: dict[str, float], task: str | None = None, seed: int | None = None
    ) -> None:
        """Write `values` (numbers or one-element tensors) of `phase` at `step`, with task and seed if given."""
        wall = round(self._seconds_before + time.perf_counter() - self._start, 3)
        line: dict[str, Any] = {"phase": phase, "step": step, "wall_seconds": wall}
        line |= {name: value for name, value in (("task", task), ("seed", seed)) if value is not None}
        for name, value in values.items():
            if name in _RESERVED:
                raise ValueError(f"{name!r} cannot name a value; it is a field of every line")
            line[name] = float(value)
        try:
            self._file.write(to_json(line).encode() + b"\n")
            self._file.flush()
            if (writer := self._tensorboard_writer(phase)) is not None:
                _add_scalars(writer, line)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def truncate(self, phase: str, step: int, members: Collection[tuple[str, int]] | None = None) -> None:
        """Drop the lines of `phase` after `step`, all or those of the (task, seed) in `members`; a resumed run writes
        them again."""

        def unwanted(line: dict) -> bool:
            mine = members is None or (line.get("task"), line.get("seed")) in members
            return line.get("phase") == phase and mine and line.get("step", 0) > step

        lines = read_metrics(self.folder)
        kept = [line for line in lines if not unwanted(line)]
        if len(kept) == len(lines):
            return
        self._file.close()
        write_atomic(self._path, lambda file: file.writelines(to_json(line).encode() + b"\n" for line in kept))
        self._open()
        if phase in self._writers:
            self._writers.pop(phase).close()
        first = self._purge_step[phase] = min(step + 1, self._purge_step.get(phase, step + 1))
        # TensorBoard drops those of other members too.
        self._again[phase] = [line for line in kept if line.get("phase") == phase and line.get("step", 0) >= first]

    def close(self) -> None:
        """Flush and close all files."""
        writers, self._writers = self._writers, {}
        try:
            self._file.close()
            for writer in writers.values():
                writer.close()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab")
        except OSError as error:
            raise PWMError(f"{self._path}: cannot write ({error.strerror or error}); check the path") from error
        os.truncate(self._path, read_bytes(self._path).rfind(b"\n") + 1)

    def _tensorboard_writer(self, phase: str) -> Any:
        if not self._tensorboard:
            return None
        if phase not in self._writers:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._tensorboard = False
                return None
            _silence_event_writers()
            folder = str(self.folder / "tensorboard" / phase)
            self._writers[phase] = SummaryWriter(folder, purge_step=self._purge_step.pop(phase, None))
            for line in self._again.pop(phase, ()):
                _add_scalars(self._writers[phase], line)
        return self._writers[phase]


def _add_scalars(writer: Any, line: dict[str, Any]) -> None:
    task, seed = line.get("task"), line.get("seed")
    where = "".join(f"{part}/" for part in (task, None if seed is None else f"seed{seed}") if part)
    for name, value in line.items():
        if name not in _RESERVED:
            writer.add_scalar(where + name, value, line["step"])


def _silence_event_writers() -> None:
    """TensorBoard writes in threads, and raises their errors at the next call as well: no traceback of the thread."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if type(args.thread).__name__ != "_AsyncWriterThread":
            before(args)

    if getattr(before, "__module__", None) != __name__:
        threading.excepthook = hook


def read_metrics(folder: PathLike) -> list[dict[str, Any]]:
    """All lines of `folder/metrics.jsonl` in order, none if it does not exist. Values that were not finite are NaN.

    An incomplete last line (of a killed writer) is ignored. Raises PWMError if any other line is damaged.
    """
    path = Path(folder) / _FILE
    if not path.exists():
        return []
    *whole, _torn = read_bytes(path).split(b"\n")
    lines = []
    for number, text in enumerate(whole, start=1):
        try:
            line = parse_json(text, path)
            lines.append({name: math.nan if value is None else value for name, value in line.items()})
            wrong = [name for name, value in lines[-1].items() if not isinstance(value, _KINDS.get(name, (int, float)))]
        except (PWMError, AttributeError) as error:
            raise PWMError(f"{path}: line {number} is damaged ({error}); remove that line") from error
        if wrong:
            raise PWMError(f"{path}: line {number} is damaged ({wrong[0]} is {line[wrong[0]]!r:.40}); remove that line")
    return lines
