"""Gradient steps of large world models within a memory: `python -m benchmarks.large_models --help`.

Each case runs in a process of its own, which makes a trainer, a few gradient steps on synthetic data of MT30's shape,
a checkpoint and its resumption, and tells the peak of its resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pwm.runtime.files import write_json

CASES: dict[str, dict[str, Any]] = {
    "48/whole": {"size": "48", "batch_size": 64},
    "317/whole": {"size": "317", "batch_size": 64},
    "317/micro-batch 8, recompute 4": {"size": "317", "batch_size": 64, "micro_batch": 8, "recompute_steps": 4},
}


def measure(size: str, updates: int = 2, **settings: Any) -> dict[str, Any]:
    """Train for some updates in this process; losses, seconds per update, bytes of the tensors and of the process."""
    from benchmarks import workload
    from pwm.runtime.memory import peak_bytes, peak_process_bytes
    from pwm.world_model.config import PretrainConfig, world_model_size
    from pwm.world_model.pretrain import build_pretrainer

    config = PretrainConfig(held_out=0.0, precision="auto", **settings)
    with workload.synthetic_store() as store:
        started = peak_process_bytes()
        trainer = build_pretrainer(store, world_model_size(size), config)
        losses, seconds = [], []
        for _ in range(updates):
            begin = time.perf_counter()
            losses.append(float(trainer.update()["loss"]))
            seconds.append(time.perf_counter() - begin)
        trained = peak_process_bytes()
        activations = peak_bytes(trainer.update, "cpu")
        with tempfile.TemporaryDirectory() as folder:
            trainer.save(Path(folder) / "checkpoint")
        parameters = sum(p.numel() for p in trainer.model.parameters())
    return {
        "parameters": parameters,
        "state_bytes": 12 * parameters,  # weights and Adam's two moments, float32
        "update_bytes": activations,  # gradients, activations and whatever else lives during an update
        "process_bytes_before": started,
        "process_bytes_training": trained,
        "process_bytes_with_checkpoint": peak_process_bytes(),
        "seconds_per_update": min(seconds),
        "losses": losses,
    }


def rehearsed() -> list[dict[str, Any]]:
    """Bytes of a gradient step on the paper's batch, for what it takes to fit it."""
    from pwm.world_model.config import PretrainConfig, world_model_size
    from pwm.world_model.estimate import pretrain_bytes

    ways = {"whole": {}, "parts": {"micro_batch": 128}, "recompute": {"recompute_steps": 4}}
    ways["both"] = ways["parts"] | ways["recompute"]
    rows = []
    for size in ("48", "317"):
        for precision in ("float32", "bfloat16"):
            configs = {name: PretrainConfig(precision=precision, **settings) for name, settings in ways.items()}
            sizes = {name: pretrain_bytes(world_model_size(size), c, 30, 24, 6) for name, c in configs.items()}
            rows.append({"size": size, "precision": precision} | sizes)
    return rows


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """`measure`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large_models", "--case", json.dumps(case)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser("python -m benchmarks.large_models", description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(CASES), help="; ".join(CASES))
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.case:
        print(json.dumps(measure(**json.loads(args.case))))
        return
    from benchmarks.record import stamp

    records = {}
    for name in args.only:
        records[name] = CASES[name] | run_case(CASES[name])
        peak = records[name]["process_bytes_with_checkpoint"] / 2**30
        print(f"{name}: {records[name]['seconds_per_update']:.1f} s per update, {peak:.1f} GiB", flush=True)
    if args.out:
        command = shlex.join(["python", "-m", "benchmarks.large_models", *given])
        write_json(
            args.out, {"format": "pwm-large-models", "cases": records, "rehearsed": rehearsed()} | stamp(command)
        )


if __name__ == "__main__":
    main()
