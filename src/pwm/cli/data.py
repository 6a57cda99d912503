"""`pwm data`: create, inspect, validate and edit episode stores."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence

from pwm.runtime.errors import PWMError

COMMANDS = {
    "collect": ("data_collect:collect", "play episodes in simulators, by a policy file, a scripted or random policy"),
    "import tdmpc2": ("data_import:tdmpc2", "TD-MPC2's multi-task data (MT30, MT80), chunk by chunk"),
    "import minari": ("data_import:minari", "Minari datasets, local folders or by name"),
    "import npz": ("data_import:npz", "recordings as .npz files, one per task"),
    "export minari": ("data_import:export_minari", "one Minari dataset per task"),
    "inspect": ("data_store:inspect", "what is in a store: tasks, sizes, episodes, returns"),
    "validate": ("data_store:validate", "read all of a store and check everything"),
    "merge": ("data_store:merge", "several stores into one"),
    "subset": ("data_store:subset", "some tasks or episodes of a store, by tag, return or number"),
}

_HELP = """usage: pwm data COMMAND [OPTIONS]

An episode store is a folder that holds logged episodes of one or more tasks. Everything that learns reads one.

commands:
{commands}

pwm data COMMAND --help   shows all options of a command with their defaults

examples:
  pwm data collect --tasks walker-walk --policy random --episodes 10 --quality random --out data/random
  pwm data import tdmpc2 mt30/ --tasks walker-walk cup-catch --out data/mt30
  pwm data merge data/random data/mt30 --out data/both
  pwm data inspect data/both
"""


def main(arguments: Sequence[str]) -> int:
    """Find the command, one word or two, and run it."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        return _help("")
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            module, _, function = COMMANDS[name][0].partition(":")
            return getattr(importlib.import_module(f"pwm.cli.{module}"), function)(words[length:])
    if any(name.startswith(f"{words[0]} ") for name in COMMANDS):
        if len(words) == 1 or words[1] in ("-h", "--help"):
            return _help(words[0])
    name = " ".join(word for word in words[:2] if not word.startswith("-"))
    close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    close = close or difflib.get_close_matches(words[0], COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}"
    raise PWMError(f"data {name}: no such command; {hint}")


def _help(prefix: str) -> int:
    lines = [f"  {name:<14} {text}" for name, (_, text) in COMMANDS.items() if name.startswith(prefix)]
    print(_HELP.format(commands="\n".join(lines)), end="")
    return 0
