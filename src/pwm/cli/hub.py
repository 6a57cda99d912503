"""`pwm hub push` and `pwm hub pull`: runs and episode stores on the Hugging Face Hub."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.cli.parse import counted, parse
from pwm.runtime.errors import PWMError

COMMANDS = {
    "push": "a run folder or an episode store, to a repository of yours",
    "pull": "a repository that holds a run or an episode store, into a new folder",
}

_HELP = """usage: pwm hub COMMAND [OPTIONS]

Runs and episode stores on the Hugging Face Hub. Log in with `hf auth login`, or set HF_TOKEN.

commands:
{commands}

pwm hub COMMAND --help   shows all options of a command with their defaults
"""


@dataclass(frozen=True)
class Push:
    """Upload a run (world model, policies, results, metrics) or an episode store, with a card that describes it.

    Left out are checkpoints to resume from, reports, TensorBoard files, and the absolute paths in run.json. If the
    folder has a README.md, it is used as the card."""

    folder: tyro.conf.Positional[Path]
    """Run folder or episode store."""
    repo: tyro.conf.Positional[str]
    """Name of the repository, USER/NAME. It is created if it does not exist."""
    public: bool = False
    """Create a public repository instead of a private one. The visibility of an existing repository does not change."""


@dataclass(frozen=True)
class Pull:
    """Download a run or an episode store to a new folder, and check it.

    Only files with known names are downloaded, none of which is a pickle. The same command again resumes."""

    repo: tyro.conf.Positional[str]
    """Name of the repository, USER/NAME."""
    out: Path
    """The new folder."""
    revision: str | None = None
    """Branch, tag or commit; none means the latest."""


def main(arguments: Sequence[str]) -> int:
    """Find the command and run it."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:<6} {text}" for name, text in COMMANDS.items())), end="")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        raise PWMError(f"hub {name}: no such command; {'did you mean ' + close[0] if close else 'choose push or pull'}")
    return {"push": push, "pull": pull}[name](arguments[1:])


def push(arguments: Sequence[str]) -> int:
    args = parse(Push, "hub push", arguments)

    from pwm.pipeline.hub import connect, push_folder

    place, files = push_folder(connect(), args.folder, args.repo, private=not args.public)
    print(f"Pushed {counted(len(files), 'file')} of {args.folder} to {place}")
    print(f"Next: pwm hub pull {args.repo} --out DIR")
    return 0


def pull(arguments: Sequence[str]) -> int:
    args = parse(Pull, "hub pull", arguments)

    from pwm.pipeline.hub import RUN, connect, pull_folder

    kind = pull_folder(connect(), args.repo, args.out, args.revision)
    use = f"learn --world-model {args.out} --data STORE" if kind is RUN else f"data inspect {args.out}"
    print(f"Pulled {args.repo}, {kind.noun}, into {args.out}. Next: pwm {use}")
    return 0
