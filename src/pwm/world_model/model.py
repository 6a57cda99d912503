"""The multi-task world model: encoder, latent dynamics and reward (paper Section 4.3; the model side of TD-MPC2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pwm.nn.perceptron import ConditionedMLP, init_truncated_normal
from pwm.nn.two_hot import TwoHot
from pwm.runtime.errors import PWMError
from pwm.world_model.bound import BoundModel
from pwm.world_model.config import WorldModelConfig


class WorldModel(nn.Module):
    """The networks of E(s, e), F(z, a, e) and heads such as R(z, a, e), for a fixed list of tasks.

    `bind` fixes the task of each row of a batch; the bound model encodes observations, steps and predicts rewards.

    Args:
        config: layer widths and reward bins.
        tasks: task ids, in the order of the embedding's rows.
        observation_dims, action_dims: sizes of each task; the model has their maxima.
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
        self._heads: list[str] = []
        self.add_head("reward", ConditionedMLP(z + a, e, config.units, config.bins))
        if config.episodic:
            self.add_head("termination", ConditionedMLP(z, e, config.units, 1))
        self.register_buffer("observation_scale", prefix_mask(observation_dims))
        self.register_buffer("observation_shift", torch.zeros(len(self.tasks), self.observation_dim))
        self.register_buffer("action_mask", prefix_mask(action_dims), persistent=False)
        self.register_buffer("reward_scale", torch.ones(len(self.tasks)))
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        init_truncated_normal(self, 0.02, generator)
        width = self.config.embedding_init
        self.embedding.uniform_(-width, width, generator=generator)
        if self.config.bias_init:
            self.encoder.linears[0].bias.normal_(0.0, self.config.bias_init, generator=generator)
        self.heads["reward"].linears[-1].weight.zero_()

    @torch.no_grad()
    def normalise_observations(self, task: str, mean: Tensor, std: Tensor) -> None:
        """Let the encoder see (s - mean) / std for a task; mean and std are [the task's observation_dim]."""
        row, width = self.index(task), len(mean)
        self.observation_scale[row, :width] = 1.0 / std
        self.observation_shift[row, :width] = mean / std

    @torch.no_grad()
    def scale_rewards(self, task: str, scale: float) -> None:
        """Let the reward head learn r / scale for a task; `BoundModel.reward` returns r."""
        self.reward_scale[self.index(task)] = scale

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if bool((self.reward_scale == 1.0).all()):  # files and hashes are then those of models without it
            del destination[f"{prefix}reward_scale"]

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        state_dict.setdefault(f"{prefix}reward_scale", torch.ones_like(self.reward_scale))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def index(self, task: str) -> int:
        """Row of a task id in the embedding. Raises PWMError if the model was not trained on it."""
        if task not in self.tasks:
            raise PWMError(f"task {task}: this world model knows {', '.join(self.tasks)}")
        return self.tasks.index(task)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The heads by name: "reward", "termination" in episodic models, and those added by `add_head`."""
        return {name: self.get_submodule(name) for name in self._heads}

    def add_head(self, name: str, network: nn.Module) -> None:
        """Add a head that reads latents, or latents and actions; `BoundModel.head(name, ...)` evaluates it.

        Its tensors are called `name.*` in `state_dict`. A world model's file describes "reward" and "termination" only:
        to load a file with another head, add the head first.

        Args:
            network: a `ConditionedMLP`, or another module with its `context(embedding)` and `forward(x, context)`.

        Raises:
            PWMError: the name is taken.
        """
        if hasattr(self, name):
            raise PWMError(f"head {name}: the world model has an attribute of this name; choose another")
        self.add_module(name, network.to(self.embedding))
        self._heads.append(name)

    def networks(self) -> dict[str, nn.Module]:
        """All networks by name, in the order of their parameters."""
        return {"encoder": self.encoder, "dynamics": self.dynamics, **self.heads}

    def task_contexts(self) -> dict[str, Tensor]:
        """Name of a network -> contribution of every task's embedding to its first layer [tasks, hidden[0]]."""
        return {name: network.context(self.embedding) for name, network in self.networks().items()}

    def bind(self, tasks: Sequence[str] | Tensor) -> BoundModel:
        """This model with the task of each row fixed; see `BoundModel` for when to refresh or to bind again.

        Args:
            tasks: the task ids of a fleet's members, which may repeat, for inputs [members, batch, ...]; or the tasks'
                rows in the embedding, int64 of any shape, for inputs with these leading axes.
        """
        if not isinstance(tasks, Tensor):
            tasks = torch.tensor([[self.index(task)] for task in tasks], device=self.embedding.device)
        return BoundModel(self, tasks)

    @torch.no_grad()
    def project_embedding(self) -> None:
        """Project task embeddings with a norm above 1 back to norm 1."""
        norm = torch.linalg.vector_norm(self.embedding, dim=-1, keepdim=True)
        self.embedding.div_(norm.clamp(min=1.0))

    def freeze(self) -> WorldModel:
        """Turn off gradients of the parameters; gradients still flow through the model to its inputs."""
        return self.requires_grad_(False).eval()


def prefix_mask(dims: Sequence[int]) -> Tensor:
    """[tasks, max(dims)], 1 for each task's own entries, which come first, and 0 for padding."""
    return (torch.arange(max(dims))[None] < torch.tensor(list(dims))[:, None]).float()
