"""Small networks of the baselines: perceptron, Gaussian actor, running observation statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["elu", "mish", "tanh", "relu"]
ACTIVATIONS = {"elu": nn.ELU, "mish": nn.Mish, "tanh": nn.Tanh, "relu": nn.ReLU}


def perceptron(
    inputs: int, hidden: Sequence[int], outputs: int, activation: Activation, layer_norm: bool
) -> nn.Sequential:
    """Linear -> activation (-> LayerNorm) per hidden layer, then Linear."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        layers += [nn.LayerNorm(width)] if layer_norm else []
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


@torch.no_grad()
def init_orthogonal(net: nn.Sequential, output_gain: float, generator: torch.Generator) -> None:
    """Orthogonal weights of gain sqrt 2 (the last layer's is `output_gain`) drawn from `generator`; biases zero."""
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    for layer in linear:
        gain = output_gain if layer is linear[-1] else math.sqrt(2.0)
        nn.init.orthogonal_(layer.weight, gain, generator=generator)
        layer.bias.zero_()


class GaussianActor(nn.Module):
    """pi(s) = tanh(mu(s) + sigma * eps) with one free sigma per action."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], actions: int, activation: Activation, log_std: float
    ) -> None:
        super().__init__()
        self.net = perceptron(inputs, hidden, actions, activation, layer_norm=True)
        self.log_std = nn.Parameter(torch.full((actions,), log_std))

    def forward(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Actions [..., a] for normalised observations [..., o] and standard normal `noise` [..., a]."""
        return torch.tanh(torch.addcmul(self.net(observations), self.log_std.exp(), noise))


class Normaliser(nn.Module):
    """Normalises by the running moments of all rows seen so far; initially the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(width, dtype=torch.float64))
        """sum of squared deviations from the mean"""

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Update with rows [..., width] (parallel form of Welford's algorithm)."""
        rows = rows.reshape(-1, rows.shape[-1]).double()
        mean = rows.mean(dim=0)
        shift, total = mean - self.mean, self.count + len(rows)
        self.square += (rows - mean).square().sum(dim=0) + shift.square() * (self.count * len(rows) / total)
        self.mean += shift * (len(rows) / total)
        self.count.copy_(total)

    def moments(self) -> tuple[Tensor, Tensor]:
        """(mean, standard deviation), each [width] and float32; (0, 1) before the first rows."""
        variance = self.square / self.count.clamp(min=1.0) + 1e-5
        return self.mean.float(), torch.where(self.count > 0, variance, torch.ones_like(variance)).sqrt().float()
