"""`python -m benchmarks`: measure, print a table, and keep the numbers in benchmarks/results.json."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import (
    action_latency,
    evaluation_steps,
    layers,
    locomotion,
    online_round,
    policy_update,
    products,
    quickstart,
    sampler,
    world_model_update,
)
from benchmarks.results import RESULTS, Context, merge, reasons, table
from pwm.nn.products import resolve_precision
from pwm.runtime.device import keep_freed_memory, resolve_device, set_threads
from pwm.runtime.errors import PWMError

_IN_BOTH = (policy_update.NAME, world_model_update.NAME, online_round.NAME, products.NAME)
BENCHMARKS = (
    policy_update,
    world_model_update,
    online_round,
    products,
    layers,
    sampler,
    action_latency,
    evaluation_steps,
    locomotion,
    quickstart,
)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    names = ", ".join(module.NAME for module in BENCHMARKS)
    out.add_argument("--quick", action="store_true", help="policy and world-model updates at batch 64, in a minute")
    out.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=f"{names}; or narrower, such as policy_update/48/8"
    )
    out.add_argument("--threads", type=int, metavar="N", help="CPU threads of PyTorch; its own choice by default")
    out.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    out.add_argument(
        "--precision",
        nargs="+",
        default=["float32", "auto"],
        choices=("auto", "float32", "bfloat16"),
        help="of the library's products in both updates, one row for each; the reference is float32 (float32 auto)",
    )
    out.add_argument("--budget", type=float, default=60.0, metavar="S", help="seconds that one row may take (60)")
    out.add_argument("--out", type=Path, default=RESULTS, help="the results file; rows are merged into it by name")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks that were asked for. Raises PWMError for a name, device or file that cannot be used."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_args(given)
    device = resolve_device(args.device)
    context = Context(
        device=device,
        threads=set_threads(args.threads),
        quick=args.quick,
        only=tuple(args.only),
        budget_s=args.budget,
        command=shlex.join(["python", "-m", "benchmarks", *given]),
    )
    known = [module.NAME for module in BENCHMARKS]
    for name in context.only:
        if name.split("/")[0] not in known:
            raise PWMError(f"--only {name}: no such benchmark; choose among {', '.join(known)}")
    keep_freed_memory()  # serves the reference as well as ours
    precisions = list(dict.fromkeys(resolve_precision(name, device) for name in args.precision))
    console, records = Console(), {}
    for module in BENCHMARKS:
        if not context.wants(module.NAME):
            continue
        for precision in precisions if module.NAME in _IN_BOTH else ["float32"]:
            now = replace(context, precision=precision, brief=precision != precisions[-1])
            with console.status(f"{module.NAME} ..."):
                for name, record in module.run(now):
                    records[name] = record
                    merge(args.out, name, record)
    if not records:
        raise PWMError(f"--only {' '.join(context.only)}: names no benchmark that this run measures")
    console.width = max(console.width, 100)  # a pipe counts as 80 columns, which would cut the table
    console.print(table(records))
    for line in (*reasons(records), f"written to {args.out}"):
        console.print(line, highlight=False, markup=False)


if __name__ == "__main__":
    try:
        main()
    except PWMError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
