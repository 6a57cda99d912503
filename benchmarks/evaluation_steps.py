"""Evaluating policies in the simulator: seconds per environment step.

The library runs all episodes side by side and asks each policy once per step; the reference plays one episode after
the other and asks its policy about one observation at a time. Both make their environments anew, as an evaluation does.
A second row sets several processes beside one: there the reference is the library in this process alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.action_latency import Act, deployed
from benchmarks.harness import Comparison, compare, seconds
from benchmarks.results import Context, Record, measured
from pwm.acting.environments import Table
from pwm.acting.policy_file import act_together
from pwm.acting.rollout import run_episodes
from pwm.acting.workers import Workers, count_cores
from pwm.agents.pwm.config import PolicyConfig
from pwm.tasks.registry import get_task
from pwm.tasks.spec import TaskSpec

NAME = "evaluation_steps"
TASKS = ("cup-catch", "cartpole-swingup")
WORKERS = 2


def run(
    context: Context, specs: Sequence[TaskSpec] | None = None, episodes: int = 10, size: str = "5"
) -> Iterator[tuple[str, Record]]:
    """Yields (name, record): beside one episode after the other, and in two processes beside one."""
    if context.quick:
        return
    specs = specs or [get_task(task) for task in TASKS]
    alone = context.name(NAME, f"{len(specs)}x{episodes}")
    shared = context.name(NAME, f"{len(specs)}x{episodes}", f"{WORKERS} workers")
    widths = {spec.id: (spec.observation_dim, spec.action_dim) for spec in specs}
    policies, acts = deployed(widths, size, PolicyConfig(), context.device)
    seeds = np.arange(len(specs) * episodes).reshape(len(specs), episodes)
    together = act_together(policies)
    steps = episodes * sum(spec.episode_length for spec in specs)
    shapes = {"tasks": list(widths), "episodes": episodes, "steps": steps, "world model": size}
    budget_s = min(context.budget_s, 30.0)

    def here() -> object:
        return run_episodes(specs, together, seeds)

    if context.wants(alone):
        result = compare(here, lambda: one_by_one(specs, acts, seeds), context.device, budget_s=budget_s)
        yield alone, _per_step(context, result, steps, shapes)
    if context.wants(shared):
        dims = (max(spec.observation_dim for spec in specs), max(spec.action_dim for spec in specs))
        with Workers(WORKERS, Table.size(seeds.size, *dims)) as pool:

            def there() -> object:
                return run_episodes(specs, together, seeds, None, None, pool)

            first_s = seconds(there, context.device)
            result = compare(there, here, context.device, budget_s=budget_s)
        more = {"workers": WORKERS, "reference": "one process", "cores": count_cores()}
        yield shared, _per_step(context, result, steps, shapes | more) | {"with_start_s": first_s / steps}


def _per_step(context: Context, result: Comparison, steps: int, shapes: Record) -> Record:
    result = replace(result, ours_s=result.ours_s / steps, reference_s=result.reference_s / steps)
    more = {"steps_per_s": 1.0 / result.ours_s, "reference_steps_per_s": 1.0 / result.reference_s}
    return measured(context, result, None, shapes, **more)


def one_by_one(specs: Sequence[TaskSpec], acts: Sequence[Act], seeds: np.ndarray) -> np.ndarray:
    """Returns [N, E] of one episode after the other, in one environment per task."""
    returns = np.zeros(seeds.shape)
    for n, spec in enumerate(specs):
        env = spec.make()
        for e, seed in enumerate(seeds[n]):
            observation, _ = env.reset(seed=int(seed))
            ended = False
            while not ended:
                action = acts[n](observation[None])[0]
                observation, reward, terminated, truncated, _ = env.step(action)
                returns[n, e] += reward
                ended = terminated or truncated
        env.close()
    return returns
