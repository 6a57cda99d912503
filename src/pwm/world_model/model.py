"""The multi-task world model: encoder, latent dynamics and reward (paper Section 4.3; the model side of TD-MPC2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pwm.nn.mlp import ConditionedMLP, init_truncated_normal
from pwm.nn.products import SharedWeights
from pwm.nn.two_hot import TwoHot
from pwm.runtime.errors import PWMError
from pwm.world_model.config import WorldModelConfig


class TaskContext(NamedTuple):
    """What the networks need to know of the task of each row; constant along a rollout."""

    encoder: Tensor
    """[..., encoder_units[0]]"""
    dynamics: Tensor
    """[..., units[0]]"""
    reward: Tensor
    """[..., units[0]]"""
    termination: Tensor | None
    """[..., units[0]], episodic models only"""
    observation_scale: Tensor
    """[..., observation_dim], what observations are multiplied by; 0 for padding"""
    observation_shift: Tensor
    """[..., observation_dim], what is then subtracted; 0 for padding"""
    action_mask: Tensor
    """[..., action_dim], 1 for real entries and 0 for padding"""

    def select(self, rows: Tensor) -> TaskContext:
        """The context of the given rows (int64) of a context with one leading axis."""
        # The gradient of x[rows] is added up in any order on several threads; that of index_select in one.
        return TaskContext(*(None if x is None else x.index_select(0, rows) for x in self))

    def unsqueeze(self, dim: int) -> TaskContext:
        """Every part with one more axis of length 1, for broadcasting."""
        return TaskContext(*(None if x is None else x.unsqueeze(dim) for x in self))


class WorldModel(nn.Module):
    """z = E(s, e), z' = F(z, a, e), reward logits = R(z, a, e), for a fixed list of tasks.

    Padded observation entries and masked action entries are multiplied by zero inside, whatever the caller passes.

    Args:
        config: layer widths and reward bins.
        tasks: task ids, in the order of the embedding's rows.
        observation_dims, action_dims: sizes of each task; the model's own are the maxima.
        seed: seed of the initialisation.
    """

    def __init__(
        self,
        config: WorldModelConfig,
        tasks: Sequence[str],
        observation_dims: Sequence[int],
        action_dims: Sequence[int],
        seed: int = 0,
    ) -> None:
        super().__init__()
        if config.latent_dim % config.simnorm_group:
            raise PWMError(
                f"latent_dim {config.latent_dim} is not a multiple of simnorm_group {config.simnorm_group}; change one"
            )
        self.config = config
        self.tasks = tuple(tasks)
        self.observation_dims = tuple(observation_dims)
        self.action_dims = tuple(action_dims)
        self.observation_dim = max(observation_dims)
        self.action_dim = max(action_dims)
        self.two_hot = TwoHot(config.bins, config.bin_low, config.bin_high)
        z, a, e, v = config.latent_dim, self.action_dim, config.task_dim, config.simnorm_group
        self.embedding = nn.Parameter(torch.zeros(len(self.tasks), e))
        self.encoder = ConditionedMLP(self.observation_dim, e, config.encoder_units, z, v)
        self.dynamics = ConditionedMLP(z + a, e, config.units, z, v)
        self.reward = ConditionedMLP(z + a, e, config.units, config.bins)
        self.termination = ConditionedMLP(z, e, config.units, 1) if config.episodic else None
        self.register_buffer("observation_scale", _mask(observation_dims))
        self.register_buffer("observation_shift", torch.zeros(len(self.tasks), self.observation_dim))
        self.register_buffer("action_mask", _mask(action_dims), persistent=False)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        init_truncated_normal(self, 0.02, generator)
        width = self.config.embedding_init
        self.embedding.uniform_(-width, width, generator=generator)
        if self.config.bias_init:
            self.encoder.linears[0].bias.normal_(0.0, self.config.bias_init, generator=generator)
        self.reward.linears[-1].weight.zero_()

    @torch.no_grad()
    def normalise_observations(self, task: str, mean: Tensor, std: Tensor) -> None:
        """Let the encoder see (s - mean) / std for a task; mean and std are [the task's observation_dim]."""
        row, width = self.index(task), len(mean)
        self.observation_scale[row, :width] = 1.0 / std
        self.observation_shift[row, :width] = mean / std

    def index(self, task: str) -> int:
        """Row of a task id in the embedding; raises PWMError when the model was not trained on it."""
        if task not in self.tasks:
            raise PWMError(f"task {task}: this world model knows {', '.join(self.tasks)}")
        return self.tasks.index(task)

    def task_contexts(self) -> TaskContext:
        """The context of every task, leading axis [tasks]."""
        e = self.embedding
        return TaskContext(
            self.encoder.context(e),
            self.dynamics.context(e),
            self.reward.context(e),
            self.termination.context(e) if self.termination is not None else None,
            self.observation_scale,
            self.observation_shift,
            self.action_mask,
        )

    def encode(self, observation: Tensor, context: TaskContext) -> Tensor:
        """Observations [..., observation_dim] to latents [..., latent_dim]."""
        scaled = torch.addcmul(-context.observation_shift, observation, context.observation_scale)
        return self.encoder(scaled, context.encoder)

    def step(self, latent: Tensor, action: Tensor, context: TaskContext, shared: SharedWeights | None = None) -> Tensor:
        """Latents [..., latent_dim] and actions [..., action_dim] to the next latents.

        Args:
            shared: `dynamics.share()`, made once for all steps of a rollout.
        """
        return self.dynamics(torch.cat((latent, action * context.action_mask), dim=-1), context.dynamics, shared)

    def reward_logits(self, latent: Tensor, action: Tensor, context: TaskContext) -> Tensor:
        """Logits [..., bins] of the reward that an action earns in a latent state."""
        return self.reward(torch.cat((latent, action * context.action_mask), dim=-1), context.reward)

    def termination_logit(self, latent: Tensor, context: TaskContext) -> Tensor:
        """Logit [...] of "the episode has ended" in the latent just entered (episodic models only)."""
        if self.termination is None or context.termination is None:
            raise PWMError("this world model has no termination head; train it with episodic=True")
        return self.termination(latent, context.termination).squeeze(-1)

    @torch.no_grad()
    def project_embedding(self) -> None:
        """Scale rows of the task embedding back to norm 1 where an update pushed them beyond it."""
        norm = torch.linalg.vector_norm(self.embedding, dim=-1, keepdim=True)
        self.embedding.div_(norm.clamp(min=1.0))

    def freeze(self) -> WorldModel:
        """Stop gradients to the parameters; gradients still pass through the model to its inputs."""
        return self.requires_grad_(False).eval()


def _mask(dims: Sequence[int]) -> Tensor:
    """[tasks, max(dims)] with ones in each task's own entries, which come first."""
    return (torch.arange(max(dims))[None] < torch.tensor(list(dims))[:, None]).float()
