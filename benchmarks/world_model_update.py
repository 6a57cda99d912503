"""One gradient step of the world model, drawing its batch of slices included: seconds per step.

Both sides draw their batches with the library's sampler, so that the ratio is that of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks import workload
from benchmarks.harness import compare
from benchmarks.reference.convert import convert_world_model
from benchmarks.reference.world_model_update import WorldModelTrainer
from benchmarks.results import Context, Record, measured
from pwm.data.store import EpisodeStore
from pwm.world_model.config import PretrainConfig, world_model_size
from pwm.world_model.estimate import world_model_update_flops
from pwm.world_model.pretrain import Pretrainer, build_pretrainer

NAME = "world_model_update"
BATCHES = (64, 256)
_QUICK_S = 6.0


def run(context: Context, batches: tuple[int, ...] = BATCHES) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for every size and batch wanted."""
    with workload.synthetic_store() as store:
        for size in context.sizes:
            for batch in batches[:1] if context.quick else batches:
                name = context.name(NAME, size, str(batch))
                if context.wants(name):
                    yield name, _step(context, size, batch, store)


def _step(context: Context, size: str, batch: int, store: EpisodeStore) -> Record:
    config = PretrainConfig(batch_size=batch, held_out=0.0, precision=context.precision, normalise_observations=False)
    trainer = build_pretrainer(store, world_model_size(size), config, device=context.device)
    model = trainer.model
    workload.randomise(model, 0)
    theirs = reference(trainer, context.device)
    budget = _QUICK_S if context.quick else min(context.budget_s, 30.0)
    result = compare(trainer.update, theirs, context.device, budget_s=budget)
    flops = world_model_update_flops(
        model.config, batch, config.horizon, len(store.tasks), model.observation_dim, model.action_dim
    )
    shapes = {
        "batch": batch,
        "horizon": config.horizon,
        "latent": model.config.latent_dim,
        "tasks": len(store.tasks),
        "observation": model.observation_dim,
        "action": model.action_dim,
    }
    return measured(context, result, flops, shapes)


def reference(trainer: Pretrainer, device: torch.device) -> Callable[[], object]:
    """The reference's gradient step, from the weights that the library's trainer has now."""
    config = trainer.config
    theirs = WorldModelTrainer(convert_world_model(trainer.model).to(device), config)
    step = 0

    def update() -> object:
        nonlocal step
        step += 1
        return theirs.update(trainer.sampler(step))

    return update
