"""The whole quickstart, from the bundled sample to the report: read from its results, not run here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.results import Context, Record, skipped
from pwm.runtime.errors import PWMError
from pwm.runtime.files import read_json

NAME = "quickstart"
RUN = Path(__file__).resolve().parents[1] / "runs" / "quickstart"
_CURE = "run `make quickstart`, then this again"


def run(context: Context, folder: Path = RUN) -> Iterator[tuple[str, Record]]:
    """Yields (name, record): the wall-clock seconds of the last quickstart, by stage. There is no reference for it."""
    if context.quick:
        return
    yield NAME, _record(context, folder)


def _record(context: Context, folder: Path) -> Record:
    if not (folder / "results.json").exists():
        return skipped(context, f"no results yet; {_CURE}")
    try:
        stages = dict(read_json(folder / "results.json")["wall_seconds"])
        total = float(stages["total"])
    except (PWMError, KeyError, TypeError, ValueError):
        return skipped(context, f"its results.json does not tell the seconds; {_CURE}")
    record = {"ours_s": total, "reference_s": None, "ratio": None, "flops": None, "share_of_peak": None}
    record |= {"stages_s": stages}
    try:  # another process measured it: when, where and how stands in its own run.json
        about = read_json(folder / "run.json")
    except PWMError:
        about = {}
    return record | {ours: about.get(theirs) for ours, theirs in _ABOUT.items()}


_ABOUT = {"command": "command", "date": "created", "machine": "machine", "versions": "versions"}
