"""`pwm report`: a run folder as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pwm.cli.parse import parse


@dataclass(frozen=True)
class Report:
    """Write RUN/report.html, one self-contained file, from whatever the run has reached."""

    run: tyro.conf.Positional[Path]
    """Run folder."""


def main(arguments: Sequence[str]) -> int:
    args = parse(Report, "report", arguments)

    from pwm.report.page import write_report

    print(f"Report in {write_report(args.run)}")
    return 0
