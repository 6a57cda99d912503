"""The policy file of the baselines: a perceptron on normalised observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pwm.agents.networks import perceptron
from pwm.runtime.checkpoint import load_module, module_tensors, write_described
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike

KIND = "baseline policy"
_SQUASH = {"tanh": torch.tanh, "clip": lambda x: x.clamp(-1.0, 1.0)}


class BaselinePolicy(nn.Module):
    """Observation in, action out: normalise, perceptron, squash.

    The description `about` holds kind, algorithm, task, seed, observation_dim, action_dim, hidden (layer widths),
    activation, layer_norm, squash ("tanh" or "clip"), and optional entries of the trainer.

    Attributes:
        task, seed, observation_dim, action_dim, about: as in the description.
        mean, std: buffers [observation_dim], fixed moments that normalise observations.
        bound: buffer, to which normalised observations are clipped; infinite for none.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__()
        self.about = about
        self.task: str = about["task"]
        self.seed: int = about["seed"]
        self.observation_dim: int = about["observation_dim"]
        self.action_dim: int = about["action_dim"]
        self.squash = _SQUASH[about["squash"]]
        sizes = (self.observation_dim, about["hidden"], self.action_dim)
        with torch.random.fork_rng(devices=[]):  # unused initial weights must not advance the global generator
            self.net = perceptron(*sizes, about["activation"], about["layer_norm"])
        self.register_buffer("mean", torch.zeros(self.observation_dim))
        self.register_buffer("std", torch.ones(self.observation_dim))
        self.register_buffer("bound", torch.tensor(float("inf")))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, observations: Tensor) -> Tensor:
        """Actions [..., a] in [-1, 1] for raw observations [..., o]."""
        x = (observations - self.mean) / self.std
        return self.squash(self.net(x.clamp(-self.bound, self.bound)))

    def act(self, observation: np.ndarray | Tensor) -> np.ndarray:
        """The action for one observation [o] or many [..., o]: float32 in [-1, 1], [a] or [..., a].

        Raises:
            PWMError: the last axis is not the task's observation width, or an entry is not finite.
        """
        x = torch.as_tensor(np.asarray(observation), dtype=torch.float32, device=self.mean.device)
        if x.ndim == 0 or x.shape[-1] != self.observation_dim:
            raise PWMError(f"{self.task}: observations have width {self.observation_dim}, got shape {list(x.shape)}")
        if not torch.isfinite(x).all():
            raise PWMError(f"{self.task}: the observation has entries that are not finite")
        return self.forward(x).cpu().numpy()

    def save(self, path: PathLike) -> None:
        """Write the policy to one safetensors file, atomically."""
        write_described(path, module_tensors(self, "policy"), self.about)


def load(
    tensors: dict[str, Tensor], about: dict[str, Any], path: PathLike, device: torch.device | str
) -> BaselinePolicy:
    policy = BaselinePolicy(about)
    load_module(policy, "policy", tensors, path)
    return policy.to(device)
