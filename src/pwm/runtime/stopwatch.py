"""Wall-clock seconds per stage of a run, saved to disk so that they add up over resumptions."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json, write_json

_FILE = "clock.json"
_PERIOD = 5.0  # seconds between saves while a stage runs, which a killed process can lose


class Stopwatch:
    """Times the stages of the run in `folder`: `with stopwatch.stage("pretrain"): ...`.

    A stage counts from the end of the previous one (the first from `since`, a `time.perf_counter()`), so that stages
    add up to the total time. A run that skips all stages adds nothing. Raises PWMError if the saved file is damaged.
    """

    def __init__(self, folder: PathLike, since: float | None = None) -> None:
        self._path = Path(folder) / _FILE
        self._since = time.perf_counter() if since is None else since
        self.seconds: dict[str, float] = {}
        if self._path.exists():
            self.seconds = read_json(self._path)
            if not isinstance(self.seconds, dict) or not all(type(x) in (int, float) for x in self.seconds.values()):
                raise PWMError(f"{self._path}: must hold seconds by stage; the file is damaged, remove it")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block, also if it is interrupted."""
        before, stop = self.seconds.get(name, 0.0), threading.Event()

        def save() -> None:
            self.seconds[name] = round(before + time.perf_counter() - self._since, 3)
            with contextlib.suppress(PWMError):  # on a full disk the stage itself should fail, not its clock
                write_json(self._path, self.seconds)

        def keep_saving() -> None:
            while not stop.wait(_PERIOD):
                save()

        saver = threading.Thread(target=keep_saving, daemon=True)
        saver.start()
        try:
            yield
        finally:
            stop.set()
            saver.join()
            save()
            self._since = time.perf_counter()

    def wall_seconds(self) -> dict[str, float]:
        """Seconds per stage and their "total"."""
        return self.seconds | {"total": round(sum(self.seconds.values()), 3)}
