"""What a GPU makes of both updates, in one run of a few minutes: `python -m benchmarks.gpu --out FILE.json`.

It measures the rate of policy updates for fleets of several sizes and of world-model updates, each as the program runs
them and recorded as a CUDA graph, in float32, TF32 and bfloat16; the peak memory of each beside the estimate; the share
of the device's own matrix-product peak; and how far the results are from those of a CPU. What it has is written after
every row, so that an end of time costs the rest alone. `--device cpu --size tiny` tries it out anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import workload
from benchmarks.harness import matrix_peak, seconds
from benchmarks.record import stamp
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.estimate import learn_bytes, members_that_fit, policy_update_flops
from pwm.data.store import EpisodeStore
from pwm.runtime.device import resolve_device
from pwm.runtime.files import write_json
from pwm.runtime.memory import free_bytes
from pwm.world_model.config import PretrainConfig, world_model_size
from pwm.world_model.estimate import pretrain_bytes, world_model_update_flops
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import build_pretrainer

PRECISIONS = ("bfloat16", "tf32", "float32")
FLEETS = (1, 8, 30, 80)
_WARM_UP = 5  # one more than what comes before a recording, and the recording
_SECONDS, _LEAST = 4.0, 3  # seconds and updates per row
_EQUAL_UPDATES = 6
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None, settings: PolicyConfig = PolicyConfig()) -> None:  # noqa: B008
    """Measure everything; `settings` are the policies', but for what the flags say."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_args(given)
    device, begin = resolve_device(args.device), time.perf_counter()
    found: dict[str, Any] = {"format": "pwm-gpu"} | stamp(shlex.join(["python", "-m", "benchmarks.gpu", *given]))
    found |= {"device": str(device), "size": args.size, "rows": []}
    with workload.synthetic_store() as store:
        for name, measure in cases(args, store, device, settings):
            if time.perf_counter() - begin > args.budget:
                row = {"name": name, "skipped": f"the budget of {args.budget:.0f} s was used up"}
            else:
                row = {"name": name} | attempt(measure)
            found["rows"].append(row)
            found["seconds"] = round(time.perf_counter() - begin, 1)
            write_json(args.out, found)
            print(line(row), flush=True)
    print(f"written to {args.out}")


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    out.add_argument("--out", type=Path, required=True, help="JSON file for the numbers")
    out.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try it out (cuda)")
    out.add_argument("--size", default="48", help="world model by name (48)")
    out.add_argument("--fleets", type=int, nargs="+", default=list(FLEETS), help="policies learned at once (1 8 30 80)")
    out.add_argument("--slices", type=int, nargs="+", default=[256, 1024], help="slices of a world-model update")
    out.add_argument("--batch-size", type=int, default=64, help="imagined rollouts per policy and update (64)")
    out.add_argument("--horizon", type=int, default=16, help="steps of rollouts and slices (16)")
    out.add_argument("--budget", type=float, default=540.0, help="seconds after which nothing new is begun (540)")
    return out


def cases(
    args: argparse.Namespace, store: EpisodeStore, device: torch.device, settings: PolicyConfig
) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Names and functions of everything measured, the most telling first."""
    model = workload.world_model(world_model_size(args.size), store).to(device).freeze()
    learn = replace(settings, batch_size=args.batch_size, horizon=args.horizon)
    pretrain = PretrainConfig(horizon=args.horizon, held_out=0.0)
    yield "equality", lambda: equality(store, device)
    for precision in PRECISIONS:
        yield f"peak/{precision}", lambda p=precision: {"flops_per_s": peak(device, p)}
    fleets = sorted(args.fleets, key=lambda n: (n not in (max(args.fleets), min(args.fleets)), n))
    for precision, members, graph in itertools.product(PRECISIONS, fleets, (True, False)):
        name = f"policy/{members}/{precision}/{'graph' if graph else 'plain'}"
        config = replace(learn, cuda_graph=graph, precision=plain(precision))
        yield name, lambda c=config, n=members, p=precision: policy(model, store, c, n, device, p)
    for precision, slices, graph in itertools.product(PRECISIONS, args.slices, (True, False)):
        name = f"world model/{slices}/{precision}/{'graph' if graph else 'plain'}"
        config = replace(pretrain, batch_size=slices, cuda_graph=graph, precision=plain(precision))
        yield name, lambda c=config, p=precision: world_model(model, store, c, device, p)
    yield "fleet", lambda: fleet_size(model, store, learn, device)


def policy(
    model: WorldModel, store: EpisodeStore, config: PolicyConfig, members: int, device: torch.device, precision: str
) -> Row:
    """Updates of a fleet."""
    flops = policy_update_flops(model.config, config, members, model.observation_dim, model.action_dim)
    fleet = [(store.tasks[0], seed) for seed in range(members)]
    estimate = None if config.cuda_graph else learn_bytes(model, store, fleet, config)  # a recording needs more
    clear(device)
    learner = workload.fleet(model, store, config, members, device)
    row = rate(learner.update, device, precision, flops)
    return row | {"members": members, "estimated_bytes": estimate, "seconds_of_10000": 1e4 / row["updates_per_s"]}


def world_model(
    model: WorldModel, store: EpisodeStore, config: PretrainConfig, device: torch.device, precision: str
) -> Row:
    """Gradient steps of a world model of the same size, which starts from its own weights."""
    sizes = len(store.tasks), model.observation_dim, model.action_dim
    flops = world_model_update_flops(model.config, config.batch_size, config.horizon, *sizes)
    estimate = None if config.cuda_graph else pretrain_bytes(model.config, config, *sizes, device)
    clear(device)
    trainer = build_pretrainer(store, model.config, config, device=device)
    return rate(trainer.update, device, precision, flops) | {"slices": config.batch_size, "estimated_bytes": estimate}


def rate(update: Callable[[], object], device: torch.device, precision: str, flops: int) -> Row:
    """Updates per second over some seconds without a wait in between, memory, and share of the device's peak."""
    with products(precision):
        for _ in range(_WARM_UP):
            update()
        one = seconds(update, device)
        count = max(_LEAST, min(int(_SECONDS / one), 400))
        took = seconds(lambda: [update() for _ in range(count)], device) / count
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    share = flops / took / peak(device, precision)
    return {"updates_per_s": 1.0 / took, "flops": flops, "share_of_peak": share, "peak_bytes": memory, "timed": count}


def equality(store: EpisodeStore, device: torch.device) -> Row:
    """Largest relative differences between some updates on the CPU and the same on the device, in float32."""
    config = PolicyConfig(batch_size=16, horizon=4, updates=_EQUAL_UPDATES, critic_passes=2)
    results = {}
    for name, where, graph in (("cpu", "cpu", False), ("plain", device, False), ("graph", device, True)):
        model = workload.world_model(world_model_size("tiny"), store).to(where).freeze()
        learner = workload.fleet(model, store, replace(config, cuda_graph=graph), 3, where)
        for _ in range(_EQUAL_UPDATES):
            values = learner.update()
        weights = [p.detach().cpu().flatten() for m in (learner.actor, learner.critic) for p in m.parameters()]
        results[name] = torch.cat([*weights, *(value.cpu().flatten() for value in values.values())])
    scale = results["cpu"].abs().clamp(min=1e-2)
    return {
        f"{a} from {b}": float(((results[a] - results[b]).abs() / scale).max())
        for a, b in (("plain", "cpu"), ("graph", "cpu"), ("graph", "plain"))
    }


def fleet_size(model: WorldModel, store: EpisodeStore, config: PolicyConfig, device: torch.device) -> Row:
    """How many policies are said to fit."""
    clear(device)
    free = free_bytes(device)
    return {"free_bytes": free, "members_that_fit": members_that_fit(model, store, config, free)}


def peak(device: torch.device, precision: str) -> float:
    """FLOP/s of the device's own matrix products."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    threads = torch.get_num_threads() + (10_000 if precision == "tf32" else 0)  # remembered apart from float32
    with products(precision):
        return matrix_peak(str(device), dtype, threads)


def plain(precision: str) -> str:
    """The setting `precision` for it: TF32 is a way to multiply float32."""
    return "float32" if precision == "tf32" else precision


@contextlib.contextmanager
def products(precision: str) -> Iterator[None]:
    """Lets float32 products be TF32 inside, where that was asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def attempt(measure: Callable[[], Row]) -> Row:
    """What was measured, or why it could not be: one row that fails does not take the others with it."""
    try:
        return measure()
    except RuntimeError as error:
        return {"failed": " ".join(str(error).split())[:300]}


def clear(device: torch.device) -> None:
    """Give unused memory back, and count its peak anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def line(row: Row) -> str:
    """A row for the terminal."""
    facts = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()]
    return f"{row['name']}: " + ", ".join(facts[1:])


if __name__ == "__main__":
    main()
