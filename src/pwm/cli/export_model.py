"""`pwm export-model`: a run's world model as a checkpoint that TD-MPC2's code reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from pwm.cli.parse import parse


@dataclass(frozen=True)
class ExportModel:
    """Write a run's world model in TD-MPC2's format.

    Policy and critics are written where the run has them, which is after `pwm import-model`. A file without them is
    for PWM's code, which reads the world model alone; TD-MPC2's agent wants them all."""

    run: tyro.conf.Positional[Path]
    """Run folder (or weights file) of the world model."""
    out: Path
    """The file to write, a .pt file."""
    layout: Literal["flat", "named"] = "flat"
    """Names of the critics. TD-MPC2's own loaders take flat, which those since October 2024 rename; named has today's
    names, for readers that go by them."""


def main(arguments: Sequence[str]) -> int:
    args = parse(ExportModel, "export-model", arguments)

    from pwm.world_model.checkpoints.files import export_checkpoint

    exported = export_checkpoint(args.run, args.out, args.layout)
    print(f"Wrote {args.out}: {', '.join(name.replace('_', ' ') for name in exported.networks)}")
    print(f"TD-MPC2's settings for it: {' '.join(f'{name}={value:g}' for name, value in exported.settings.items())}")
    if "critics" not in exported.networks:
        print("It has no policy and no critics, since the run has none: TD-MPC2's agent cannot act with it.")
    return 0
