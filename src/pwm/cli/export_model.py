"""`pwm export-model`: exports a run's world model as a checkpoint that TD-MPC2's code reads."""

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

    Policy and critics are included if the run has them from `pwm import-model`. TD-MPC2's agent needs them; PWM's code
    only needs the world model."""

    run: tyro.conf.Positional[Path]
    """Run folder (or weights file) of the world model."""
    out: Path
    """The .pt file to write."""
    layout: Literal["flat", "named"] = "flat"
    """Names of the critics: flat, which all of TD-MPC2's loaders read, or named, as in TD-MPC2 since October 2024."""


def main(arguments: Sequence[str]) -> int:
    args = parse(ExportModel, "export-model", arguments)

    from pwm.world_model.checkpoints.files import export_checkpoint

    exported = export_checkpoint(args.run, args.out, args.layout)
    print(f"Wrote {args.out}: {', '.join(name.replace('_', ' ') for name in exported.networks)}")
    print(f"TD-MPC2's settings for it: {' '.join(f'{name}={value:g}' for name, value in exported.settings.items())}")
    if "critics" not in exported.networks:
        print("It has no policy and no critics, since the run has none: TD-MPC2's agent cannot act with it.")
    return 0
