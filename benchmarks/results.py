"""Records: measured, described, merged into benchmarks/results.json by name, and printed as a table."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from benchmarks.harness import Comparison, matrix_peak
from pwm.runtime.config import machine, versions
from pwm.runtime.errors import PWMError
from pwm.runtime.files import read_json, write_json

RESULTS = Path(__file__).with_name("results.json")
_FORMAT = "pwm-benchmarks"
Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Context:
    """How this run measures, and which benchmarks it wants."""

    device: torch.device
    threads: int
    quick: bool = False
    only: tuple[str, ...] = ()
    budget_s: float = 60.0
    precision: str = "float32"
    brief: bool = False
    """Whether another precision is measured in full, so that small fleets are enough here."""
    command: str = ""
    sizes: tuple[str, ...] = ("5", "48")

    def name(self, *parts: str) -> str:
        """The name of a benchmark: its parts, then what is not the default."""
        tail = [self.device.type] if self.device.type != "cpu" else []
        tail += [self.precision] if self.precision != "float32" else []
        return "/".join((*parts, *tail))

    def wants(self, name: str) -> bool:
        """Whether a benchmark (or any below this prefix) was asked for."""
        return not self.only or any(f"{name}/".startswith(f"{o}/") or f"{o}/".startswith(f"{name}/") for o in self.only)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the library's large matrix products."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


def measured(context: Context, result: Comparison, flops: int | None, shapes: Record, **more: Any) -> Record:
    """The record of a comparison; `flops` is what one call of ours needs, None where arithmetic is not the point."""
    peak = matrix_peak(str(context.device), context.dtype, context.threads) if flops else None
    share = flops / result.ours_s / peak if flops and peak else None
    record = dataclasses.asdict(result) | {"flops": flops, "share_of_peak": share, "peak_flops_per_s": peak}
    return record | {"shapes": shapes} | more | described(context)


def skipped(context: Context, reason: str, **more: Any) -> Record:
    """The record of a benchmark that was not run."""
    return {"skipped": reason} | more | described(context)


def described(context: Context) -> Record:
    """Where, when and how a record was made."""
    return {
        "device": context.device.type,
        "dtype": context.precision,
        "threads": context.threads,
        "machine": machine(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": context.command,
    }


def merge(path: Path, name: str, record: Record) -> None:
    """Put one record into the file, beside those of other names; a skipped one never replaces a measurement."""
    found = {"format": _FORMAT, "benchmarks": {}}
    if path.exists():
        found = read_json(path)
        if not isinstance(found, dict) or found.get("format") != _FORMAT or not isinstance(found["benchmarks"], dict):
            raise PWMError(f"{path}: is not a file of benchmark results; move it away and measure again")
    old = found["benchmarks"].get(name, {})
    if "skipped" in record and old.get("ours_s") is not None:
        return
    found["benchmarks"] = dict(sorted((found["benchmarks"] | {name: record}).items()))
    write_json(path, found)


def table(records: dict[str, Record]) -> Table:
    """A rich table, one row per record that was measured."""
    out = Table(title="ours beside the reference implementation of benchmarks/reference", box=box.SIMPLE_HEAD)
    out.add_column("benchmark", no_wrap=True)
    for column in ("ours", "reference", "ratio", "quartiles", "GFLOP", "of peak"):
        out.add_column(column, justify="right", no_wrap=True)
    for name, record in records.items():
        if "skipped" in record:
            continue
        ratio, flops, share = record.get("ratio"), record.get("flops"), record.get("share_of_peak")
        out.add_row(
            name,
            duration(record["ours_s"]),
            duration(record.get("reference_s")),
            f"{ratio:.2f}x" if ratio else "",
            f"{record['ratio_low']:.2f}-{record['ratio_high']:.2f}" if ratio else "",
            f"{flops / 1e9:.3g}" if flops else "",
            f"{share:.0%}" if share else "",
        )
    return out


def reasons(records: dict[str, Record]) -> list[str]:
    """One line per record that was not measured."""
    return [f"{name}: skipped, {record['skipped']}" for name, record in records.items() if "skipped" in record]


def duration(seconds: float | None) -> str:
    """Seconds with a unit that fits."""
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
