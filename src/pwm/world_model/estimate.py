"""Estimates the cost of pre-training: FLOP by formula, memory on the meta device, time from a few real updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from pwm.data.sampler import SliceBatch, SliceSampler
from pwm.data.store import EpisodeStore
from pwm.nn.native import rehearsal
from pwm.nn.products import resolve_precision, set_precision
from pwm.runtime.estimate import Estimate, at, describe, timed
from pwm.runtime.memory import LiveTensors
from pwm.world_model.config import PretrainConfig, WorldModelConfig
from pwm.world_model.loss import world_model_loss
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import backward, build_pretrainer


def mlp_flops(rows: int, widths: Sequence[int]) -> int:
    """One forward pass of a perceptron with these layer widths: 2 * rows * sum of w_i * w_{i+1}.

    A multiply-add counts as two. Gradients of all weights cost the same again, and so do those of all inputs, including
    the first layer's.
    """
    return 2 * rows * sum(a * b for a, b in pairwise(widths))


def world_model_update_flops(
    model: WorldModelConfig, batch_size: int, horizon: int, tasks: int, observation_dim: int, action_dim: int
) -> int:
    """FLOP of the matrix products that a gradient step on B slices of H transitions needs:

    encoder H*B rows forward for the targets, and B rows forward, weight gradients, and input gradients above the first
    layer; dynamics and reward H*B rows forward, weight and input gradients; the task embeddings' part of the three
    first layers forward, weight and input gradients.
    """
    z, a, rows = model.latent_dim, action_dim, batch_size * horizon
    encoder = (observation_dim, *model.encoder_units, z)
    total = mlp_flops(rows, encoder) + 2 * mlp_flops(batch_size, encoder) + mlp_flops(batch_size, encoder[1:])
    total += 3 * mlp_flops(rows, (z + a, *model.units, z))
    total += 3 * mlp_flops(rows, (z + a, *model.units, model.bins))
    first = model.encoder_units[0] + 2 * model.units[0]
    return total + 3 * mlp_flops(tasks, (model.task_dim, first))


def pretrain_bytes(
    model: WorldModelConfig,
    config: PretrainConfig,
    tasks: int,
    observation_dim: int,
    action_dim: int,
    device: torch.device | str = "cpu",
) -> int:
    """Peak bytes of all tensors in a gradient step: weights, Adam's moments, and the live tensors of the step when it
    runs on the meta device, whose tensors have shapes and no content."""
    names = [str(k) for k in range(tasks)]
    with torch.device("meta"):
        rehearsed = WorldModel(model, names, [observation_dim] * tasks, [action_dim] * tasks)
        slices, h = config.batch_size, config.horizon
        if config.micro_batch is not None:  # two parts show what many need
            slices = min(slices, 2 * config.micro_batch)
        shapes = (h + 1, slices, observation_dim), (h, slices, action_dim), (h, slices)
        ended, tasks_of = torch.empty(h, slices, dtype=torch.bool), torch.empty(slices, dtype=torch.int64)
        batch = SliceBatch(*(torch.empty(shape) for shape in shapes), ended, tasks_of)
    set_precision(rehearsed, resolve_precision(config.precision, device))
    with rehearsal(device), LiveTensors() as live:
        backward(rehearsed, world_model_loss, batch, config)
    return live.peak + 3 * sum(4 * p.numel() for p in rehearsed.parameters())


def estimate_pretrain(
    store: EpisodeStore, model: WorldModelConfig, config: PretrainConfig, device: torch.device | str
) -> Estimate:
    """Estimate what `pretrain` takes with these settings, from updates of a temporary model on growing batches."""
    plain = replace(config, held_out=0.0, short_horizons=(), normalise_observations=False, warmup=0)
    trainer = build_pretrainer(store, model, plain, device=device)

    def step(slices: int):
        sampler = SliceSampler(store, config.horizon, slices, 0, device)
        return lambda: trainer.step("update", *sampler.sample(0))

    points = timed(step, config.batch_size, device, start=8)
    sizes = len(store.tasks), store.observation_dim, store.action_dim
    seconds = config.updates * at(points, config.batch_size)
    return Estimate(seconds, pretrain_bytes(model, config, *sizes, device), f"updates of {describe(points, 'slices')}")
