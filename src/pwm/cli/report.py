"""`pwm report`: writes a run's report as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.cli.parse import parse


@dataclass(frozen=True)
class Report:
    """Write RUN/report.html, one self-contained file, from what the run has so far."""

    run: tyro.conf.Positional[Path]
    """Run folder."""


def main(arguments: Sequence[str]) -> int:
    args = parse(Report, "report", arguments)

    from pwm.report.page import write_report

    print(f"Report in {write_report(args.run)}")
    return 0
