"""A world model that learns of more tasks: what it knows of the old ones stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pwm.data.sampler import SliceBatch
from pwm.tasks.spec import TaskSpec
from pwm.world_model.model import WorldModel


@torch.no_grad()
def extended(model: WorldModel, specs: Sequence[TaskSpec]) -> WorldModel:
    """A new model with a row for each of `specs` that `model` lacks, and the same outputs as `model` for its tasks.

    Networks become wider where a new task has longer observations or more actions; the new weights are zero. A new
    task's embedding is the mean of all others until `adopt` chooses a better one.
    """
    new = [spec for spec in specs if spec.id not in model.tasks]
    grown = WorldModel(
        model.config,
        [*model.tasks, *(spec.id for spec in new)],
        [*model.observation_dims, *(spec.observation_dim for spec in new)],
        [*model.action_dims, *(spec.action_dim for spec in new)],
    ).to(model.embedding.device)
    before, task_dim = model.state_dict(), model.config.task_dim
    inputs = {"encoder": [model.observation_dim]}
    state = {}
    for name, tensor in grown.state_dict().items():
        old = before[name]
        network, _, rest = name.partition(".")
        if tensor.shape == old.shape:
            state[name] = old
        elif rest == "linears.0.weight":
            parts = inputs.get(network, [model.config.latent_dim, model.action_dim])
            pieces = old.split([*parts, task_dim], dim=1)
            wide = tensor.new_zeros(tensor.shape)
            wide[:, : sum(parts)], wide[:, -task_dim:] = torch.cat(pieces[:-1], dim=1), pieces[-1]
            state[name] = wide
        else:  # one row per task
            tensor = tensor.clone()
            tensor[: old.shape[0], : old.shape[1]] = old
            state[name] = tensor
    grown.load_state_dict(state)
    grown.reward_scale[: len(model.tasks)] = model.reward_scale
    grown.embedding[len(model.tasks) :] = model.embedding.mean(dim=0)
    return grown


@torch.no_grad()
def adopt(model: WorldModel, task: str, batch: SliceBatch) -> str:
    """Give a new task the embedding of the known task whose rewards predict its own best; returns that task.

    The error is the reward's cross-entropy along the slices (paper Eq. 10), of which only those of `task` count.

    Args:
        batch: slices that contain some of the task's first episodes.
    """
    row = model.index(task)
    mine = batch.tasks == row
    own = SliceBatch(*(x[:, mine] for x in batch[:-1]), batch.tasks[mine])
    candidates = [k for k in range(len(model.tasks)) if k != row]
    errors = torch.stack([_reward_error(model, row, k, own) for k in candidates])
    best = candidates[int(errors.argmin())]
    model.embedding[row] = model.embedding[best]
    return model.tasks[best]


def _reward_error(model: WorldModel, row: int, candidate: int, batch: SliceBatch) -> Tensor:
    kept = model.embedding[row].clone()
    model.embedding[row] = model.embedding[candidate]
    bound = model.bind(batch.tasks)
    model.embedding[row] = kept
    latents = torch.stack(bound.rollout(bound.encode(batch.observations[0]), batch.actions))
    rewards = batch.rewards / bound.reward_scale
    return model.two_hot.cross_entropy(bound.reward_logits(latents[:-1], batch.actions), rewards).mean()
