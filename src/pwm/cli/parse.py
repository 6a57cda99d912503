"""Parses command lines to frozen dataclasses, and helpers for several commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pwm.runtime.files import PathLike

T = TypeVar("T")


def parse(command: type[T], name: str, arguments: Sequence[str], prefixes: bool = False, **defaults: Any) -> T:
    """Build `command` from flags, one per field; those of nested dataclasses have a prefix only if `prefixes`.

    `defaults` override the fields' defaults. Exits with 0 after printing help for --help, and with 2 for wrong flags.
    """
    import dataclasses

    import tyro

    missing = {f.name: tyro.MISSING for f in dataclasses.fields(command) if _required(f)}  # type: ignore[arg-type]
    default = command(**(missing | defaults))
    flags = () if prefixes else (tyro.conf.OmitArgPrefixes,)
    return tyro.cli(command, prog=f"pwm {name}", args=list(arguments), default=default, config=flags)


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
