"""`pwm doctor --bench`: estimates time and memory of pre-training and policy learning on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pwm.runtime.config import Precision
from pwm.runtime.ranges import Batch, Few, Range, Ranged, Steps

if TYPE_CHECKING:
    from pwm.runtime.estimate import Estimate


@dataclass(frozen=True)
class Bench(Ranged):
    """Settings of `--bench`. The defaults are the paper's multi-task settings."""

    size: str = "48"
    """World model by name, as in `pwm pretrain`."""
    tasks: Few = 30
    """Number of tasks, with MT30's widest observation and action."""
    pretrain_updates: Steps = 100_000
    """Gradient steps of the world model."""
    batch_size: Batch = 1024
    """Slices per gradient step."""
    micro_batch: Batch | None = None
    """As in `pwm pretrain`."""
    recompute_steps: Annotated[int, Range(0, 10**5)] = 0
    """As in `pwm pretrain`."""
    policies: Few = 1
    """Policies per task."""
    updates: Steps = 10_000
    """Updates per policy."""
    rollouts: Batch = 64
    """Imagined rollouts per update and policy."""
    precision: Precision = "float32"
    """Precision of matrix products, as in both commands."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


_WIDTHS = (24, 6)  # MT30's widest observation and action


def bench(asked: Bench) -> Iterator[str]:
    """Estimates of both steps as lines of text, from a few updates of each on random data.

    Raises:
        PWMError: a size or setting is invalid, or the device is not available.
    """
    from pwm.agents.pwm.config import PolicyConfig
    from pwm.agents.pwm.estimate import estimate_learn, members_that_fit, policy_update_flops
    from pwm.data.synthetic import synthetic_store
    from pwm.runtime.device import resolve_device
    from pwm.runtime.memory import free_bytes
    from pwm.world_model.config import PretrainConfig, world_model_size
    from pwm.world_model.estimate import estimate_pretrain, world_model_update_flops
    from pwm.world_model.model import WorldModel

    device, size = resolve_device(asked.device), world_model_size(asked.size)
    same = ("batch_size", "micro_batch", "recompute_steps", "precision")
    pretrain = PretrainConfig(updates=asked.pretrain_updates, **{name: getattr(asked, name) for name in same})
    learn = PolicyConfig(updates=asked.updates, batch_size=asked.rollouts, precision=asked.precision)
    free = free_bytes(device)
    case = f"size {asked.size}, {asked.tasks} task{'' if asked.tasks == 1 else 's'}, {asked.precision}, {device}"
    yield f"{'bench':<12} {case}: {free / 2**30:.1f} GiB free"
    with synthetic_store({f"task-{k}": _WIDTHS for k in range(asked.tasks)}) as store:
        found = estimate_pretrain(store, size, pretrain, device)
        flops = world_model_update_flops(size, asked.batch_size, pretrain.horizon, asked.tasks, *_WIDTHS)
        yield from _lines("pretrain", found, flops, asked.pretrain_updates, free)
        model = WorldModel(size, store.tasks, *([w] * asked.tasks for w in _WIDTHS)).to(device).freeze()
        members = [(task, seed) for task in store.tasks for seed in range(asked.policies)]
        found = estimate_learn(model, store, members, learn, device)
        flops = policy_update_flops(size, learn, len(members), *_WIDTHS)
        most = members_that_fit(model, store, learn, free)
        yield from _lines("learn", found, flops, asked.updates, free)
        yield f"{'':<12} {len(members)} policies asked for; about {most} fit at once"


def _lines(step: str, found: Estimate, flops: float, updates: int, free: float) -> Iterator[str]:
    rate = flops * updates / found.seconds / 1e9 if found.seconds else 0.0
    yield f"{step:<12} {found}{'' if found.peak_bytes < free else ' (more than is free)'}"
    yield f"{'':<12} {flops / 1e9:,.3g} GFLOP per update at {rate:,.0f} GFLOP/s; from {found.measured}"
