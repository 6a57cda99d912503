"""User-defined tasks on the command line: the environment variable PWM_TASKS names the code that registers them.

Its value is a file ("tasks/mine.py") or an importable module ("mine.tasks"), or several separated by `os.pathsep`, like
PATH. Each is imported once, when a task is first looked up, and calls `register_task`.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

from pwm.runtime.errors import PWMError

VARIABLE = "PWM_TASKS"


def named_modules() -> tuple[str, ...]:
    """The files and modules in PWM_TASKS, in order."""
    return tuple(name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name)


def import_tasks(name: str) -> None:
    """Import a module, or a file whose name ends in ".py".

    The folder of a file is added to `sys.path`, so that it can import its neighbours and worker processes can import
    it. Raises PWMError if it is missing, has the name of another module, or fails.
    """
    path = Path(name).absolute() if name.endswith(".py") else None
    if path is not None:
        if not path.is_file():
            raise PWMError(f"{VARIABLE}: there is no file {name}")
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(path.stem if path else name)
    except PWMError as error:
        raise PWMError(f"{VARIABLE}: {name}: {error}") from error
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" in line {lines[-1]}" if lines else ""
        raise PWMError(f"{VARIABLE}: {name} fails{where}: {type(error).__name__}: {error}") from error
    found = getattr(module, "__file__", None)
    if path is not None and (found is None or not path.samefile(found)):
        raise PWMError(f"{VARIABLE}: {name} has the name of another module, {found}; rename the file")
