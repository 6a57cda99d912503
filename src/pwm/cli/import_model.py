"""`pwm import-model`: imports a published checkpoint of TD-MPC2 or PWM as a run's world model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pwm.cli.parse import command_line, parse
from pwm.runtime.ranges import Threads


@dataclass(frozen=True)
class ImportModel:
    """Convert a checkpoint of TD-MPC2 or PWM to a run folder, for `pwm learn`.

    Layout, size and task set are inferred from the tensors. Nothing in the file is executed. Policy and critics, if
    any, are kept for `pwm export-model`."""

    file: tyro.conf.Positional[Path]
    """The checkpoint, a .pt file."""
    out: Path
    """Run folder: the model goes to OUT/world_model."""
    task: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--tasks"])] = ()
    """Tasks of the model, in the order of its embedding. Needed for single-task files and unknown task sets."""
    threads: Threads | None = None
    """CPU threads; none means PyTorch's default."""


def main(arguments: Sequence[str]) -> int:
    args = parse(ImportModel, "import-model", arguments)

    from pwm.pipeline.import_model import import_checkpoint
    from pwm.runtime.device import set_threads

    set_threads(args.threads)
    checkpoint = import_checkpoint(args.file, args.out, args.task, command_line("import-model", arguments))
    if checkpoint is None:
        print(f"World model: skipped, imported before ({args.out})")
        return 0
    about, config = checkpoint.about, checkpoint.model.config
    size = f"size {about['size']}" if about["size"] else "none of the five sizes"
    widths = f"latent {config.latent_dim}, encoder {list(config.encoder_units)}, units {list(config.units)}"
    parameters = sum(p.numel() for p in checkpoint.model.parameters())
    print(f"Layout {about['layout']}, {size} ({widths}, {parameters:,} parameters of the world model)")
    print(f"Tasks: {about['task_set'] or ', '.join(about['tasks'])} ({len(about['tasks'])})")
    kept = ", ".join(name.replace("_", " ") for name in about["heads"])
    print(f"Kept beside it: {kept}" if kept else "The file has no policy and no critics.")
    if about["ignored"]:
        print(f"Left out: {', '.join(about['ignored'])}")
    print(f"World model in {args.out}. Next: pwm learn --world-model {args.out} --data STORE --task NAME")
    return 0
