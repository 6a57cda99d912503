"""Locks on folders that one process at a time may write to. The system drops them when their process ends."""

from __future__ import annotations

import contextlib
import datetime
import functools
import inspect
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, cannot_write

try:
    import fcntl
except ImportError:  # a system without it: nothing is locked
    fcntl = None  # type: ignore[assignment]

P, R = ParamSpec("P"), TypeVar("R")
LOCK = ".lock"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # as `write_atomic` names them
_held: dict[Path, int] = {}
"""Run folders that this process has locked, and how many calls deep."""


class FolderLock:
    """The right to write to a folder, which is made if it is missing; released by `release`, or when the process ends.

    Whoever gets it removes the temporary files of killed writers.

    Raises:
        PWMError: another writer holds it (its process, host and start are named), or the folder cannot be written to.
    """

    def __init__(self, folder: PathLike) -> None:
        self.path = Path(folder) / LOCK
        self._file = -1
        self._made = [p for p in (self.path.parent, *self.path.parent.parents) if not p.exists()]
        try:
            self._acquire()
            for path in self.path.parent.rglob(".*.tmp"):
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)
        except OSError as error:
            self.release()
            raise cannot_write(folder, error) from error

    def _acquire(self) -> None:
        while self._file < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if not _lock(file):
                holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
                os.close(file)
                raise PWMError(
                    f"{self.path.parent}: {holder} is writing to it; wait for its end, stop it, or choose another path"
                )
            if _same(file, self.path):  # the holder before may have removed it between our two steps
                self._file = file
            else:
                os.close(file)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}, since {now},\n".encode())

    def release(self) -> None:
        """Give the folder back, and remove those that were made for the lock and are empty. Again does nothing."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._file)
            self._file = -1
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            os.close(self._file)


def _lock(file: int) -> bool:
    """Lock an open file; False if another has it. On file systems without locks, everyone gets it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def alone_in(run: PathLike) -> Iterator[None]:
    """Lock a run folder; calls within this one share the lock.

    Raises:
        PWMError: see `FolderLock`.
    """
    key = Path(run).resolve()
    if _held.get(key):
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    lock = FolderLock(run)
    _held[key] = 1
    try:
        yield
    finally:
        del _held[key]
        lock.release()


def alone(*names: str, make: bool = True) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function run with the lock of a run folder: its first argument of these names that is a path.

    Without `make`, a folder that is missing is not locked: the function says that it is missing.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            run = next((given[n] for n in names if isinstance(given.get(n), (str, os.PathLike))), None)
            if run is None or not (make or Path(run).is_dir()) or Path(run).is_file():
                return function(*args, **kwargs)
            with alone_in(run):
                return function(*args, **kwargs)

        return wrapped

    return decorate
