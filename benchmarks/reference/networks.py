"""World model, actor and critic from stock PyTorch modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwm.agents.pwm.config import PolicyConfig
from pwm.world_model.config import WorldModelConfig


class SimNorm(nn.Module):
    """Softmax inside groups of `group` neighbouring entries of the last axis (paper Eq. 4)."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        return F.softmax(x.view(*shape[:-1], -1, self.group), dim=-1).view(*shape)


def world_model_mlp(inputs: int, hidden: Sequence[int], outputs: int, simnorm: int | None = None) -> nn.Sequential:
    """Linear -> LayerNorm -> Mish per hidden layer, then Linear, then optionally LayerNorm -> SimNorm."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.Mish()]
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    if simnorm:
        layers += [nn.LayerNorm(outputs), SimNorm(simnorm)]
    return nn.Sequential(*layers)


def policy_mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear -> Mish -> LayerNorm per hidden layer, then Linear."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Mish(), nn.LayerNorm(width)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class WorldModel(nn.Module):
    """Encoder, dynamics and reward; every call concatenates the task's embedding to its input.

    Args:
        config: the same settings that the library's world model takes.
        observation_dim: width of (padded) observations.
        action_masks: [tasks, action_dim], 1 for real action entries and 0 for padding.
    """

    def __init__(self, config: WorldModelConfig, observation_dim: int, action_masks: Tensor) -> None:
        super().__init__()
        tasks, a = action_masks.shape
        z, e, group = config.latent_dim, config.task_dim, config.simnorm_group
        self.config = config
        self.embedding = nn.Embedding(tasks, e, max_norm=1.0)
        self.encoder = world_model_mlp(observation_dim + e, config.encoder_units, z, group)
        self.dynamics = world_model_mlp(z + a + e, config.units, z, group)
        self.reward = world_model_mlp(z + a + e, config.units, config.bins)
        self.register_buffer("action_masks", action_masks.clone())
        self.register_buffer("bins", torch.linspace(config.bin_low, config.bin_high, config.bins))

    def with_task(self, x: Tensor, task: Tensor) -> Tensor:
        """x [..., rows, width] beside the embedding of each row's task, task [rows] (int64)."""
        embedding = self.embedding(task)
        return torch.cat([x, embedding.expand(*x.shape[:-1], -1)], dim=-1)

    def encode(self, observation: Tensor, task: Tensor) -> Tensor:
        return self.encoder(self.with_task(observation, task))

    def next(self, latent: Tensor, action: Tensor, task: Tensor) -> Tensor:
        return self.dynamics(self.with_task(torch.cat([latent, action * self.action_masks[task]], dim=-1), task))

    def reward_logits(self, latent: Tensor, action: Tensor, task: Tensor) -> Tensor:
        return self.reward(self.with_task(torch.cat([latent, action * self.action_masks[task]], dim=-1), task))

    def decode_reward(self, logits: Tensor, space: str) -> Tensor:
        """Scalar from two-hot logits: the mean bin ("symlog"), or its symexp ("true")."""
        value = (F.softmax(logits, dim=-1) * self.bins).sum(dim=-1)
        return value if space == "symlog" else torch.sign(value) * (torch.exp(torch.abs(value)) - 1)


class Actor(nn.Module):
    """tanh(mu(z) + sigma * noise) with a free sigma per action, bounded below."""

    def __init__(self, latent_dim: int, action_dim: int, config: PolicyConfig) -> None:
        super().__init__()
        self.mu = policy_mlp(latent_dim, config.actor_units, action_dim)
        self.log_std = nn.Parameter(torch.full((action_dim,), config.initial_log_std))
        self.min_std = config.min_std

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        std = torch.exp(self.log_std).clamp(min=self.min_std)
        return torch.tanh(self.mu(latent) + std * noise)

    def mean(self, latent: Tensor) -> Tensor:
        return torch.tanh(self.mu(latent))


def make_critics(latent_dim: int, config: PolicyConfig) -> nn.ModuleList:
    """Separate value functions, latents [..., latent_dim] to [..., 1]."""
    return nn.ModuleList(policy_mlp(latent_dim, config.critic_units, 1) for _ in range(config.critics))
