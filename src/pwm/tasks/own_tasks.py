"""The user's own tasks for the command line: the environment variable PWM_TASKS names the code that registers them.

Its value is a file ("tasks/mine.py") or a module that can be imported ("mine.tasks"), or several with `os.pathsep`
between them, like PATH. Each is imported once, at the first look-up of a task, and calls `register_task`.
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
    """What PWM_TASKS names, in its order."""
    return tuple(name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name)


def import_tasks(name: str) -> None:
    """Imports a module, or a file whose name ends in ".py".

    A file is imported under its own name, with its folder on `sys.path`, so that it finds its neighbours and other
    processes find it. Raises PWMError where it is not there, its name is taken, or it fails.
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
