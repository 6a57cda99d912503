"""Shared parts of the experiments' pages: tables, intervals, and the origin of numbers."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from pwm.runtime.config import machine, versions
from pwm.runtime.files import PathLike
from pwm.runtime.run_folder import read_run_file


def made_by(name: str) -> dict[str, Any]:
    """Command, machine, versions and today's date, for a measurement by `pwm reproduce NAME`."""
    today = datetime.date.today().isoformat()
    return {"command": f"pwm reproduce {name}", "machine": machine(), "date": today, "versions": versions()}


def run_facts(run: PathLike) -> dict[str, Any]:
    """Date, command, seed, versions and machine of a run folder."""
    record = read_run_file(run)
    return {name: record[name] for name in ("created", "command", "seed", "versions", "machine")}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def mean_interval(mean: float, interval: Sequence[float]) -> str:
    """ "432 [269, 593]"."""
    return f"{mean:.0f} [{interval[0]:.0f}, {interval[1]:.0f}]"


def origins(records: Iterable[dict[str, Any]]) -> str:
    """One line per distinct origin of `records` (of `made_by` or `run_facts`): command, machine, torch, date."""
    lines = []
    for record in records:
        day = record.get("date") or record["created"][:10]
        lines.append(f"* `{record['command']}`, {record['machine']}, torch {record['versions']['torch']}, {day}")
    return "\n".join(dict.fromkeys(lines))
