"""Evaluating policies in the simulator: seconds per environment step.

The library runs all episodes side by side and asks each policy once per step; the reference plays one episode after
the other and asks its policy about one observation at a time. Both make their environments anew, as an evaluation does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.action_latency import Act, deployed
from benchmarks.harness import compare
from benchmarks.results import Context, Record, measured
from pwm.evaluation.rollout import run_episodes
from pwm.policy.config import PolicyConfig
from pwm.policy.deployed import act_together
from pwm.tasks.registry import get_task
from pwm.tasks.spec import TaskSpec

NAME = "evaluation_steps"
TASKS = ("cup-catch", "cartpole-swingup")


def run(
    context: Context, specs: Sequence[TaskSpec] | None = None, episodes: int = 10, size: str = "5"
) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for the one case there is."""
    if context.quick:
        return
    specs = specs or [get_task(task) for task in TASKS]
    widths = {spec.id: (spec.observation_dim, spec.action_dim) for spec in specs}
    policies, acts = deployed(widths, size, PolicyConfig(), context.device)
    seeds = np.arange(len(specs) * episodes).reshape(len(specs), episodes)
    together = act_together(policies)
    result = compare(
        lambda: run_episodes(specs, together, seeds),
        lambda: one_by_one(specs, acts, seeds),
        context.device,
        budget_s=min(context.budget_s, 30.0),
    )
    steps = episodes * sum(spec.episode_length for spec in specs)
    result = replace(result, ours_s=result.ours_s / steps, reference_s=result.reference_s / steps)
    shapes = {"tasks": list(widths), "episodes": episodes, "steps": steps, "world model": size}
    more = {"steps_per_s": 1.0 / result.ours_s, "reference_steps_per_s": 1.0 / result.reference_s}
    yield context.name(NAME, f"{len(specs)}x{episodes}"), measured(context, result, None, shapes, **more)


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
