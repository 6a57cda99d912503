"""`pwm`: finds the command, runs it, and turns errors into exit codes."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
import time
from collections.abc import Sequence

from pwm.runtime.errors import PWMError
from pwm.runtime.threads import wait_politely

STARTED = time.perf_counter()
"""When this program started, approximately; a run's first stage counts from here."""

_SURROUNDINGS = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO"),
        *("ENAMETOOLONG", "ENOTDIR", "EISDIR", "EEXIST", "ELOOP", "EMFILE", "ENFILE"),
    )
}
"""Errors of the system that are not bugs."""

COMMANDS = {
    "quickstart": "from data to evaluated policies and a report, all steps in one",
    "pretrain": "train one world model on all tasks of a dataset",
    "learn": "learn one policy per task inside a frozen world model",
    "online": "learn policies on line, from real episodes of their own",
    "finetune": "go on from a run with real episodes, also on new tasks",
    "train": "train a baseline (SHAC, PPO, SAC) in a task's simulator",
    "plan": "put a planner on top of a run's policies",
    "evaluate": "measure a run's policies in the simulator",
    "report": "write a run's report, one HTML file",
    "data": "collect, import, inspect and change episode stores",
    "reproduce": "run the experiments behind docs/results again",
    "tasks": "list the tasks, with their sizes",
    "import-model": "a checkpoint of TD-MPC2 or PWM as a run's world model",
    "export-model": "a run's world model as a checkpoint that TD-MPC2 reads",
    "hub": "push runs and episode stores to the Hugging Face Hub, and pull them",
    "doctor": "say what works on this machine, and how fast",
}

_HELP = """usage: pwm COMMAND [OPTIONS]

From logged experience, through one multi-task world model, to one policy per task.

commands:
{commands}

pwm COMMAND --help   shows all options of a command with their defaults
pwm --version        shows the version
PWM_TASKS=mine.py pwm COMMAND   knows the tasks that mine.py registers
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    0: done. 2: wrong input, with one line on stderr. 130: interrupted. Any other exception is a bug and is raised.
    """
    wait_politely()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except PWMError as error:
        print(f"pwm: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader (head, less) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _SURROUNDINGS:
            raise
        print(f"pwm: {_of_the_system(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pwm: interrupted; the same command resumes where it stopped", file=sys.stderr)
        return 130
    except SystemExit as stop:  # the parser has printed its message
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2


def _odd(argument: str) -> bool:
    """Whether a word of the command line has bytes that are no text; they can be neither printed nor recorded."""
    return any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in argument)


def _of_the_system(error: OSError) -> str:
    """One line about an error of the surroundings: a full disk, a path that cannot be."""
    where = f"{error.filename:.200}: " if isinstance(error.filename, str) else ""
    return f"{where}{error.strerror}; check the path, its permissions and free space"


def _hint(name: str) -> str:
    """What to type in place of a command that does not exist."""
    if "policy" in name or "policies" in name:  # not export-model, which resembles export-policy
        return "a policy is one file, RUN/policies/TASK/seed0.safetensors, which pwm.load_policy(FILE) opens"
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}"


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    odd = next((argument for argument in arguments if _odd(argument)), None)
    if odd is not None:
        raise PWMError(f"{odd!a:.60}: an argument that is not UTF-8 text; rename the file, or type it again")
    if name in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())), end="")
        return 0
    if name == "--version":
        from pwm.runtime.version import __version__

        print(f"pwm {__version__}")
        return 0
    if name not in COMMANDS:
        raise PWMError(f"{name}: no such command; {_hint(name)}")
    return importlib.import_module(f"pwm.cli.{name.replace('-', '_')}").main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
