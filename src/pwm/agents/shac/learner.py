"""SHAC's networks, their update, and the checkpoint that a run resumes from."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from pwm.acting.episode_statistics import EpisodeStatistics
from pwm.agents.networks import GaussianActor, Normaliser, init_orthogonal, perceptron
from pwm.agents.shac.config import ShacConfig
from pwm.agents.shac.rollout import SimulatedRollout, roll_out, shac_objective, value_targets
from pwm.learning.schedules import average_into, linear_decay
from pwm.runtime import random
from pwm.runtime.checkpoint import (
    check_same,
    described,
    load_module,
    load_optimiser,
    module_tensors,
    optimiser_tensors,
    read_described,
    write_described,
)
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.tasks.vector import DifferentiableEnvironment

_KIND = "shac checkpoint"
_FREE = ("checkpoint_every", "log_every")


class ShacLearner:
    """Actor, critic and their optimisers, which learn in n environments.

    Every random number is a function of seed, task and update number, except for those of the environments, which are
    part of their state.

    Args:
        environment: n new environments, which are reset here.
        task, seed: determine weights, noise and shuffles.
        config: settings; `num_envs` must match the environment.
        simulator: the environment's settings, which a checkpoint must agree with.
    """

    def __init__(
        self,
        environment: DifferentiableEnvironment,
        task: str,
        seed: int,
        config: ShacConfig,
        device: torch.device | str = "cpu",
        simulator: dict | None = None,
    ) -> None:
        self.environment, self.task, self.seed, self.config = environment, task, seed, config
        if environment.num_envs != config.num_envs:
            raise PWMError(f"num_envs is {config.num_envs}, but there are {environment.num_envs} environments")
        wide, actions = environment.observation_dim, environment.action_dim
        self.actor = GaussianActor(wide, config.actor_units, actions, config.activation, config.initial_log_std)
        self.critic = perceptron(wide, config.critic_units, 1, config.activation, layer_norm=True)
        for net, gain, role in ((self.actor.net, config.actor_output_gain, "actor"), (self.critic, 1.0, "critic")):
            init_orthogonal(net, gain, torch.Generator().manual_seed(random.key_of(seed, task, "shac", role)))
        self.target_critic = deepcopy(self.critic).requires_grad_(False)
        self.normaliser = Normaliser(wide)
        self.episodes = EpisodeStatistics(environment.num_envs)
        for module in (self.actor, self.critic, self.target_critic, self.normaliser):
            module.to(device)
        keys = [random.key_of(seed, task, "shac", role) for role in ("noise", "shuffle")]
        self.noise_key, self.shuffle_key = (torch.tensor([key], device=device) for key in keys)
        adam = {"betas": config.betas, "fused": True}
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.actor_learning_rate, **adam)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=config.critic_learning_rate, **adam)
        self.about = {
            "kind": _KIND,
            "task": task,
            "seed": seed,
            "shac": {name: value for name, value in to_dict(config).items() if name not in _FREE},
            "simulator": simulator or {},
        }
        self.updates = self.skipped = 0
        environment.reset()

    def update(self) -> tuple[SimulatedRollout, dict[str, Tensor]]:
        """The next update: a rollout, an actor step through it, and the critic's fit to it.

        Returns the detached rollout, and metrics (one number each).
        """
        config = self.config
        for optimiser, rate in (
            (self.actor_optimiser, config.actor_learning_rate),
            (self.critic_optimiser, config.critic_learning_rate),
        ):
            rate = linear_decay(rate, config.final_learning_rate, self.updates, config.updates)
            optimiser.param_groups[0]["lr"] = rate
        objective, rollout, values = self.objective(self.noise())
        norm = self._step_actor(objective)
        rollout = SimulatedRollout(*(part.detach() for part in rollout))
        ends = (rollout.terminated, rollout.truncated)
        targets = value_targets(rollout.rewards, values.detach(), *ends, config.gamma, config.td_lambda)
        loss = self._fit_critic(self.normalise(rollout.observations), targets)
        critics = (self.target_critic.parameters(), self.critic.parameters())
        average_into(*critics, config.critic_average)
        if config.normalise_observations:
            self.normaliser.update(rollout.observations)
        self.episodes.update(rollout.rewards, *ends)
        self.updates += 1
        return rollout, {
            "objective": objective.detach(),
            "reward": rollout.rewards.mean(),
            "value": targets.mean(),
            "critic_loss": loss,
            "actor_grad_norm": norm,
            "action_std": self.actor.log_std.detach().exp().mean(),
            "skipped_steps": torch.tensor(float(self.skipped)),
        }

    def noise(self) -> Tensor:
        """The action noise [H, n, a] of the next update."""
        shape = (self.config.horizon, self.config.num_envs, self.environment.action_dim)
        return random.normal(self.noise_key, self.updates, shape)[0]

    def objective(self, noise: Tensor) -> tuple[Tensor, SimulatedRollout, Tensor]:
        """(what the actor maximises, the rollout, values [H, n] of its states), all differentiable.

        A function of networks, environment state and noise, which advances the environment state.
        """
        rollout = roll_out(self.environment, lambda x, eps: self.actor(self.normalise(x), eps), noise)
        values = self.target_critic(self.normalise(rollout.final_observations)).squeeze(-1)
        parts = (rollout.rewards, values, rollout.terminated, rollout.truncated)
        return shac_objective(*parts, self.config.gamma), rollout, values

    def normalise(self, observations: Tensor) -> Tensor:
        """Normalised observations; the moments change only between updates."""
        mean, std = self.normaliser.moments()
        return (observations - mean) / std

    def save(self, path: PathLike, progress: dict[str, float]) -> None:
        """Write everything that resuming needs, atomically; `progress` goes into the description."""
        tensors = {f"environment.{name}": value for name, value in self.environment.get_state().items()}
        for name, module in self._modules().items():
            tensors |= module_tensors(module, name)
        tensors |= optimiser_tensors(self.actor_optimiser, "actor_adam")
        tensors |= optimiser_tensors(self.critic_optimiser, "critic_adam")
        counts = {"updates": self.updates, "skipped": self.skipped}
        write_described(path, tensors, self.about | counts | {"progress": progress})

    def load(self, path: PathLike) -> dict[str, float]:
        """Continue from a checkpoint and return its `progress`.

        Raises:
            PWMError: the file is damaged, or belongs to another task, seed, simulator or other settings.
        """
        tensors, about = read_described(path, _KIND)
        check_same(path, about, self.about)
        with described(path):
            for name, module in self._modules().items():
                load_module(module, name, tensors, path)
            load_optimiser(self.actor_optimiser, "actor_adam", tensors)
            load_optimiser(self.critic_optimiser, "critic_adam", tensors)
            prefix = "environment."
            state = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
            self.environment.set_state(state)
            self.updates, self.skipped = about["updates"], about["skipped"]
            return about["progress"]

    def _modules(self) -> dict[str, nn.Module]:
        names = ("actor", "critic", "target_critic", "normaliser", "episodes")
        return {name: getattr(self, name) for name in names}

    def _step_actor(self, objective: Tensor) -> Tensor:
        """Ascend the objective; returns the gradient norm before clipping. Steps with gradients that are not finite are
        skipped and counted."""
        parameters = list(self.actor.parameters())
        grads = torch.autograd.grad(-objective, parameters)
        norm = _clip(grads, self.config.actor_grad_norm)
        if torch.isfinite(norm):
            _apply(self.actor_optimiser, parameters, grads)
        else:
            self.skipped += 1
        return norm

    def _fit_critic(self, observations: Tensor, targets: Tensor) -> Tensor:
        """Fit the critic to targets [H, n] at normalised states [H, n, o] in shuffled mini-batches; returns the last
        loss."""
        config, parameters = self.config, list(self.critic.parameters())
        x, y = observations.flatten(0, 1), targets.flatten()
        loss = y.new_zeros(())
        for i in range(config.critic_passes):
            draw = random.uniform(self.shuffle_key, self.updates * config.critic_passes + i, (len(y),))[0]
            for rows in draw.argsort().chunk(config.critic_splits):
                loss = (self.critic(x[rows]).squeeze(-1) - y[rows]).square().mean()
                grads = torch.autograd.grad(loss, parameters)
                _clip(grads, config.critic_grad_norm)
                _apply(self.critic_optimiser, parameters, grads)
        return loss.detach()


def _clip(grads: tuple[Tensor, ...], max_norm: float) -> Tensor:
    """Clip gradients in place to the norm `max_norm`; returns the norm before."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
    torch._foreach_mul_(list(grads), (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _apply(optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], grads: tuple[Tensor, ...]) -> None:
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
    optimiser.step()
