"""The two halves of a round of learning on line, one update each, with the defaults of `pwm online` on one task.

Batches are drawn from a growing store's mixture of all and the newest episodes, which is part of our time. The
reference draws its batches of slices in the same way, and picks start states as rows of a tensor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from benchmarks import policy_update, world_model_update
from benchmarks.harness import compare
from benchmarks.results import Context, Record, measured
from benchmarks.workload import randomise
from pwm.agents.online.config import LEARNING, MODEL, TRAINING, OnlineConfig
from pwm.agents.online.learner import OnlineLearner
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.estimate import policy_update_flops
from pwm.data.growing import GrowingStore
from pwm.data.store import Episode
from pwm.tasks.registry import get_task
from pwm.world_model.config import PretrainConfig, WorldModelConfig
from pwm.world_model.estimate import world_model_update_flops
from pwm.world_model.model import WorldModel

NAME = "online_round"
TASK = "walker-walk"
_EPISODES = 60


def run(
    context: Context,
    model: WorldModelConfig = MODEL,
    training: PretrainConfig = TRAINING,
    learning: PolicyConfig = LEARNING,
    task: str = TASK,
) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) of `online_round/model` and `online_round/policy`."""
    training, learning = (replace(config, precision=context.precision) for config in (training, learning))
    names = {part: context.name(NAME, part) for part in ("model", "policy")}
    if not any(context.wants(name) for name in names.values()) or context.quick:
        return
    with tempfile.TemporaryDirectory() as folder:
        learner = _learner(folder, task, model, training, learning, context)
        sizes = learner.model.observation_dim, learner.model.action_dim
        if context.wants(names["model"]):
            theirs = world_model_update.reference(learner.trainer, context.device)
            flops = world_model_update_flops(model, training.batch_size, training.horizon, 1, *sizes)
            shapes = {"batch": training.batch_size, "horizon": training.horizon, "latent": model.latent_dim}
            yield names["model"], _record(context, learner.trainer.update, theirs, flops, shapes)
        learner.model.requires_grad_(False)
        learner.fleet.refresh()
        if context.wants(names["policy"]):
            plain = replace(learning, actor_average=0.0)  # which the reference does not have
            theirs = policy_update.reference(learner.model, learner.store.upto(), plain, context.device)
            flops = policy_update_flops(model, learning, 1, *sizes)
            shapes = {"batch": learning.batch_size, "horizon": learning.horizon, "latent": model.latent_dim}
            yield names["policy"], _record(context, learner.fleet.update, theirs, flops, shapes)


def _learner(
    folder: str,
    task: str,
    config: WorldModelConfig,
    training: PretrainConfig,
    learning: PolicyConfig,
    context: Context,
) -> OnlineLearner:
    """A learner on episodes of noise, with weights that matter."""
    spec, rng = get_task(task), np.random.default_rng(0)
    steps, sizes = spec.episode_length, (spec.observation_dim, spec.action_dim)
    episodes = [
        Episode(
            rng.standard_normal((steps + 1, sizes[0])).astype(np.float32),
            rng.uniform(-1, 1, (steps, sizes[1])).astype(np.float32),
            rng.random(steps).astype(np.float32),
            np.zeros(steps, bool),
        )
        for _ in range(_EPISODES)
    ]
    store = GrowingStore(folder, [spec])
    store.append({task: episodes}, "noise")
    model = WorldModel(config, [task], *([size] for size in sizes), seed=0)
    randomise(model, 0)
    learner = OnlineLearner(model, store, [(task, 0)], OnlineConfig(), training, learning, 0, context.device)
    learner.learn(1, 1, lambda: None)
    learner.trainer.model.requires_grad_(True)
    return learner


def _record(context: Context, ours: Callable, theirs: Callable, flops: int, shapes: dict[str, int]) -> Record:
    result = compare(ours, theirs, context.device, budget_s=min(context.budget_s, 30.0))
    return measured(context, result, flops, shapes, note="per update; a round of four episodes of walker-walk has 800")
