"""run.json: the commands, settings, data, versions and machine of a run folder."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pwm.runtime.checkpoint import change
from pwm.runtime.config import check_type, machine, to_dict, versions
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json, write_json
from pwm.runtime.version import __version__


def run_file(run: PathLike) -> Path:
    """The path of a run folder's run.json."""
    return Path(run) / "run.json"


def read_run_file(run: PathLike) -> dict[str, Any]:
    """The content of run.json; empty if there is none. Raises PWMError if it is damaged."""
    path = run_file(run)
    record = read_json(path) if path.exists() else {}
    if not isinstance(record, dict):
        raise PWMError(f"{path}: not the description of a run; the file is damaged, start with another --out")
    for part, kinds in {
        "": _PARTS,
        "config": {"fleets": dict, "task_files": dict[str, dict]},
        "data": {"path": str | None},
    }.items():
        for name, value in (record.get(part, {}) if part else record).items():
            check_type(kinds.get(name, Any), value, f"{part}.{name}".lstrip("."), str(path))
    return record


_PARTS = {
    "config": dict[str, Any],
    "data": dict[str, Any],
    "estimates": dict[str, dict],
    "preflight": dict[str, list],
    "tasks": list[dict],
    "seed": int,
    **dict.fromkeys(("commands", "versions"), dict[str, str]),
    **dict.fromkeys(("command", "created", "machine"), str),
}
"""The types of the entries of run.json."""


def refuse_changes(run: PathLike, settings: Mapping[str, Any]) -> None:
    """Raise PWMError, saying what changed, if a section of run.json differs from the `settings` of the same name.

    A step that has begun must resume with the same settings.
    """
    record = read_run_file(run)
    for section, now in settings.items():
        before, now = record.get("config", {}).get(section), to_dict(now)
        if isinstance(before, dict) and before != now:
            where = f"those of {record['data']['path']}" if record.get("data", {}).get("path") else ""
            raise PWMError(f"{run}: was started with {change(section, before, now, where)}")


def record_step(
    run: PathLike,
    step: str,
    settings: Mapping[str, Any],
    *,
    command: str | None = None,
    seed: int | None = None,
    data: Mapping[str, Any] | None = None,
    tasks: Sequence[Mapping[str, Any]] | None = None,
    packages: Iterable[str] = (),
    parts: Mapping[str, str] | None = None,
    findings: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Merge one step into run.json, keeping entries of earlier steps that it does not replace.

    Args:
        step: "pretrain", "learn <fleet>" or "evaluate".
        settings: section -> dataclass or dict, for "config".
        command: repeats the step; by default this program's command line. "command" joins those of all steps.
        seed, data, tasks: replace the recorded ones if given.
        packages: further packages to list in "versions".
        parts: further entries of "versions", for what is not a package.
        findings: what the step found about its data, for "preflight".
    """
    record = read_run_file(run)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    commands = record.get("commands", {}) | {step: command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}
    given = {"seed": seed, "data": data, "tasks": tasks}
    record = {"command": "", "created": now} | record | {name: x for name, x in given.items() if x is not None}
    record |= {
        "command": " && ".join(dict.fromkeys(commands.values())),
        "commands": commands,
        "versions": record.get("versions", {}) | {"pwm": __version__} | versions(packages) | dict(parts or {}),
        "machine": machine(),
        "config": record.get("config", {}) | to_dict(dict(settings)),
    }
    if findings is not None:
        record["preflight"] = record.get("preflight", {}) | {step: list(findings)}
    if not run_file(run).exists() or record != read_run_file(run):
        write_json(run_file(run), record)
