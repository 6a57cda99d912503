"""Parses command lines to frozen dataclasses, and helpers for several commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from pwm.runtime.errors import PWMError

if TYPE_CHECKING:
    from pwm.runtime.files import PathLike

T = TypeVar("T")
Several = Annotated[T, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="(required)")]
"""One or more words before the flags."""


def parse(command: type[T], name: str, arguments: Sequence[str], prefixes: bool = False, **defaults: Any) -> T:
    """Build `command` from flags, one per field; those of nested dataclasses have a prefix only if `prefixes`.

    `defaults` override the fields' defaults. Exits with 0 after printing help for --help.

    Raises:
        PWMError: a flag is unknown or missing, or a value is of the wrong type or out of its field's range.
    """
    import contextlib
    import dataclasses
    import io

    from pwm.cli.readable import one_line, registry
    from pwm.runtime.ranges import check_ranges

    if arguments and arguments[0].replace("_", "-").startswith("--tyro-"):  # its own, which ends in a traceback
        raise PWMError(f"unknown option {arguments[0]}; `pwm {name} --help` shows all options")
    missing = {f.name: tyro.MISSING for f in dataclasses.fields(command) if _required(f)}  # type: ignore[arg-type]
    default = command(**(missing | defaults))
    flags = () if prefixes else (tyro.conf.OmitArgPrefixes,)
    said, more = io.StringIO(), {"default": default, "config": flags, "registry": registry()}
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(command, prog=f"pwm {name}", args=list(arguments), **more)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise PWMError(one_line(said.getvalue(), name)) from None
    check_ranges(parsed)
    return parsed


def peek(arguments: Sequence[str], flag: str, default: str) -> str:
    """The value of one flag, read before the others, whose defaults depend on it."""
    value = default
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments):
            value = arguments[i + 1]
        elif argument.startswith(flag + "="):
            value = argument[len(flag) + 1 :]
    return value


def command_line(name: str, arguments: Sequence[str]) -> str:
    """The command as typed, with PWM_TASKS if it is set."""
    own = os.environ.get("PWM_TASKS")
    return (f"PWM_TASKS={shlex.quote(own)} " if own else "") + shlex.join(["pwm", name, *arguments])


def begin(name: str, arguments: Sequence[str], threads: int | None, run: PathLike) -> dict[str, Any]:
    """Set up memory and threads for a long command; returns `command` and `clock` for the pipeline."""
    from pwm.cli.main import STARTED
    from pwm.runtime.device import keep_freed_memory, set_threads
    from pwm.runtime.stopwatch import Stopwatch

    keep_freed_memory()
    set_threads(threads)
    return {"command": command_line(name, arguments), "clock": Stopwatch(run, STARTED)}


def counted(value: int, noun: str) -> str:
    """ "1 task", "2 tasks", "1,234 episodes"."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def _required(field: Any) -> bool:
    import dataclasses

    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
