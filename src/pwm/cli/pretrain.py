"""`pwm pretrain`: pre-trains a world model on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pwm.cli.parse import begin, parse, peek
from pwm.runtime.ranges import Seed, Threads
from pwm.world_model.config import PretrainConfig, WorldModelConfig, pretrain_preset, world_model_size


@dataclass(frozen=True)
class Pretrain:
    """Train one world model on all tasks of a dataset. The same command again resumes where it stopped."""

    data: Path
    """Folder of the episode store."""
    out: Path
    """Run folder: the model goes to OUT/world_model."""
    tasks: tuple[str, ...] = ()
    """Tasks to train on; none means all of the store's."""
    size: str = "48"
    """Architecture by name: tiny, small, or 1, 5, 19, 48, 317 (the paper's is 48). The flags of the model below
    override single widths of it."""
    preset: str = "normalised"
    """normalised, or as_paper, which takes observations as they are; the flags of training below override single
    fields of it."""
    seed: Seed = 0
    """Seed of initialisation, held-out episodes and batches."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Threads | None = None
    """CPU threads; none means PyTorch's default."""
    verify: bool = True
    """Read all data once before training, to check checksums and that all numbers are finite."""
    model: WorldModelConfig = WorldModelConfig()
    training: PretrainConfig = PretrainConfig()


def main(arguments: Sequence[str]) -> int:
    size = peek(arguments, "--size", Pretrain.size)
    preset = peek(arguments, "--preset", Pretrain.preset)
    defaults = {"model": world_model_size(size), "training": pretrain_preset(preset)}
    args = parse(Pretrain, "pretrain", arguments, size=size, preset=preset, **defaults)

    from pwm.data.store import open_store
    from pwm.pipeline.pretrain import pretrain
    from pwm.runtime.device import resolve_device

    again = begin("pretrain", arguments, args.threads, args.out)
    device = resolve_device(args.device)
    store = open_store(args.data, args.tasks or None, verify=args.verify)
    training = replace(args.training, termination_weight=0.0) if "--no-episodic" in arguments else args.training
    pretrain(store, args.out, args.model, training, args.seed, device, **again)
    print(f"World model in {args.out}. Next: pwm learn --world-model {args.out} --task {' '.join(store.tasks)}")
    return 0
