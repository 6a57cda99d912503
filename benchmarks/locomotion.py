"""Differentiable locomotion: seconds of CPU per environment step of 64 robots, forward, and forward and backward.

The reference is Newton's own Featherstone solver on the same robots, with as many substeps and mass-matrix updates (it
stores muscles and never applies them, so it moves the muscle-driven humanoid's legs without them). The
backward pass goes through `horizon` environment steps; the reference's through one, as often. `steps_per_s` is the rate
of one robot's steps.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.harness import compare
from benchmarks.results import Context, Record, measured, skipped
from pwm.tasks.locomotion.catalogue import PRESETS, find_task, task_names

NAME = "locomotion"


def run(
    context: Context, tasks: tuple[str, ...] = task_names(), robots: int = 64, horizon: int = 16
) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) per task, preset and direction; on the CPU only."""
    if context.quick:
        return
    for task in tasks:
        for preset in PRESETS:
            wanted = {
                name: direction
                for direction in ("forward", "backward")
                if context.wants(name := f"{NAME}/{task}/{preset}/{direction}")
            }
            reason = _reason(context)
            if reason is not None:
                yield from ((name, skipped(context, reason)) for name in wanted)
            elif wanted:
                yield from _task(context, task, preset, robots, horizon, wanted)


def _reason(context: Context) -> str | None:
    if importlib.util.find_spec("newton") is None:
        return "needs Newton: pip install 'pwm[locomotion]'"
    return "counts CPU seconds; run it with --device cpu" if context.device.type != "cpu" else None


def _task(
    context: Context, task: str, preset: str, robots: int, horizon: int, wanted: dict[str, str]
) -> Iterator[tuple[str, Record]]:
    from benchmarks.reference.stock_locomotion import StockSimulator
    from pwm.tasks.locomotion.environment import make_locomotion
    from pwm.tasks.locomotion.robot import load_robot

    env = make_locomotion(task, robots, preset=preset)
    definition, physics = find_task(task, preset)
    uniform = torch.rand(robots, definition.draws, generator=torch.Generator().manual_seed(0))
    robot = load_robot(task, physics.limit_stiffness)
    stock = StockSimulator(robot, robots, physics, *definition.start(uniform))
    actions = 2 * torch.rand(horizon, robots, env.action_dim, generator=torch.Generator().manual_seed(0)) - 1

    def forward() -> None:
        with torch.no_grad():
            for action in actions:
                env.step(action)

    def backward() -> None:
        env.detach()
        leaf = actions.clone().requires_grad_(True)
        sum(env.step(action).reward for action in leaf).sum().backward()

    pairs: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "forward": (forward, stock.forward),
        "backward": (backward, stock.forward_backward),
    }
    for name, direction in wanted.items():
        ours, reference = pairs[direction]
        result = compare(
            ours,
            reference,
            budget_s=min(context.budget_s, 10.0),
            reference_runs=horizon,
            clock=time.process_time,
        )
        shapes = {"robots": robots, "horizon": horizon, "substeps": physics.substeps}
        shapes["mass_matrix_every"] = physics.mass_matrix_every
        steps = robots * horizon
        rates = {"steps_per_s": steps / result.ours_s, "reference_steps_per_s": steps / result.reference_s}
        yield name, measured(context, result, None, shapes, **rates)
