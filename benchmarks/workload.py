"""What the benchmarks work on: a synthetic store of MT30's shape, and world models with weights that matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch

from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learner import FleetLearner
from pwm.data.store import EpisodeStore
from pwm.data.synthetic import synthetic_store as random_store
from pwm.world_model.config import WorldModelConfig
from pwm.world_model.model import WorldModel

MT30 = {f"task-{k}": (24 - k % 10, 6 - k % 5) for k in range(30)}
"""Thirty tasks and their (observation, action) widths; the widest have MT30's."""


def synthetic_store(
    sizes: Mapping[str, tuple[int, int]] = MT30, episodes: int = 4, length: int = 64
) -> AbstractContextManager[EpisodeStore]:
    """A store of random episodes in a temporary folder, for tasks of these (observation, action) widths."""
    return random_store(sizes, episodes, length)


def world_model(config: WorldModelConfig, store: EpisodeStore, seed: int = 0) -> WorldModel:
    """A world model for the tasks of a store, with weights large enough that every layer passes gradients on."""
    dims = [(store[task].observation_dim, store[task].action_dim) for task in store.tasks]
    model = WorldModel(config, store.tasks, [o for o, _ in dims], [a for _, a in dims], seed)
    randomise(model, seed)
    return model


@torch.no_grad()
def randomise(module: torch.nn.Module, seed: int) -> None:
    """Matrices normal with variance 1 / inputs (biases, gains and embeddings off their initial values), seeded."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name == "embedding":
            parameter.copy_(noise / (2 * math.sqrt(parameter.shape[-1])))
        elif parameter.ndim == 2:
            parameter.copy_(noise / math.sqrt(parameter.shape[-1]))
        else:
            parameter.add_(0.1 * noise)


def fleet(
    model: WorldModel, store: EpisodeStore, config: PolicyConfig, members: int, device: torch.device | str = "cpu"
) -> FleetLearner:
    """A fleet of `members` policies that goes round the store's tasks, then round again with another seed."""
    tasks = [store.tasks[k % len(store.tasks)] for k in range(members)]
    seeds = [k // len(store.tasks) for k in range(members)]
    return FleetLearner(model, store, tasks, seeds, config, device)
