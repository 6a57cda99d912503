"""A fleet of policies learning in one frozen world model: many small learners, one batch (paper Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor

from pwm.data.starts import StartSource, best_episodes
from pwm.data.store import EpisodeStore
from pwm.policy.actor import FleetActor
from pwm.policy.config import PolicyConfig
from pwm.policy.critic import FleetCritic
from pwm.policy.losses import PolicyBatch, actor_loss, critic_loss, critic_targets
from pwm.policy.optimisation import ReturnScale, average_into, clip_per_member, linear_decay
from pwm.runtime import random
from pwm.runtime.checkpoint import (
    digest,
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
from pwm.world_model.model import WorldModel

_KIND = "policy checkpoint"
_ROLES = ("actor", "critic", "noise", "starts", "shuffle", "good")


class FleetLearner:
    """Actors, critics and their optimisers for N members; one `update` trains all of them by one step.

    Members never mix: each has its own random stream, return scale and gradient bound, so that member k equals the
    policy that the same seed and task train alone (up to the rounding of batched products).

    Args:
        model: a frozen world model.
        store: the episodes that start states are drawn from.
        tasks, seeds: task and seed of each member.
        config: settings.
        device: where everything lives.
    """

    def __init__(
        self,
        model: WorldModel,
        store: EpisodeStore,
        tasks: Sequence[str],
        seeds: Sequence[int],
        config: PolicyConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model, self.config = model, config
        self.tasks, self.seeds = tuple(tasks), tuple(seeds)
        self.members = len(self.tasks)
        widths = (model.observation_dim, model.action_dim)
        self.source = StartSource(store, tasks, device, widths=widths)
        self.good = None
        if config.behaviour_weight > 0.0:
            best = {task: best_episodes(store, task, config.behaviour_episodes) for task in set(tasks)}
            self.good = StartSource(store, tasks, device, best, widths)
        keys = [[random.key_of(s, t, role) for s, t in zip(seeds, self.tasks, strict=True)] for role in _ROLES]
        z = model.config.latent_dim
        self.actor = FleetActor(z, model.action_dim, config, keys[0]).to(device)
        self.critic = FleetCritic(z, config, keys[1]).to(device)
        streams = (torch.tensor(k, device=device) for k in keys[2:])
        self.noise_keys, self.start_keys, self.shuffle_keys, self.good_keys = streams
        self.saved_actor = deepcopy(self.actor).requires_grad_(False)
        self.target_critic = deepcopy(self.critic).requires_grad_(False)
        self.scale = ReturnScale(self.members, config.return_scale, config.return_scale_decay, device)
        adam = {"betas": config.betas, "fused": True}
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.actor_learning_rate, **adam)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=config.critic_learning_rate, **adam)
        rows = torch.tensor([model.index(task) for task in self.tasks], device=device)
        with torch.no_grad():
            self.context = model.task_contexts().select(rows).unsqueeze(1)
        self.updates = 0

    def batch(self) -> PolicyBatch:
        """The batch of the next update, a function of the members' seeds and the update number alone."""
        config = self.config
        observations, _ = self.source.gather(random.uniform(self.start_keys, self.updates, (config.batch_size,)))
        shape = (config.horizon, config.batch_size, self.model.action_dim)
        noise = random.normal(self.noise_keys, self.updates, shape).transpose(0, 1)
        if self.good is None:
            return PolicyBatch(observations, noise)
        return PolicyBatch(
            observations,
            noise,
            *self.good.gather(random.uniform(self.good_keys, self.updates, (config.behaviour_batch,))),
        )

    def update(self) -> dict[str, Tensor]:
        """One actor step and `critic_passes * critic_splits` critic steps; returns metrics, each [members]."""
        config, step = self.config, self.updates
        for optimiser, rate in (
            (self.actor_optimiser, config.actor_learning_rate),
            (self.critic_optimiser, config.critic_learning_rate),
        ):
            optimiser.param_groups[0]["lr"] = linear_decay(rate, config.final_learning_rate, step, config.updates)
        judge = self.target_critic if config.critic_average > 0.0 else self.critic.requires_grad_(False)
        terms = actor_loss(self.actor, judge, self.model, self.context, self.batch(), self.scale.std(), config)
        self.critic.requires_grad_(True)
        norms = self._step(self.actor_optimiser, terms.loss, config.actor_grad_norm)
        self.scale.update(terms.returns)
        rollout = terms.rollout._replace(latents=terms.rollout.latents.detach())
        targets = critic_targets(judge, rollout, config)
        critic = self._fit_critic(rollout.latents[:-1], targets)
        decay = config.actor_average
        average_into(self.saved_actor.parameters(), self.actor.parameters(), min(decay, step / (step + 10.0)))
        self.updates += 1
        return {
            "imagined_return": terms.returns.mean(dim=1),
            "imagined_reward": rollout.rewards.detach().mean(dim=(0, 2)),
            "value": targets.mean(dim=(0, 2)),
            "actor_grad_norm": norms,
            "critic_loss": critic,
            "behaviour_loss": terms.behaviour,
        }

    def save(self, path: PathLike) -> None:
        """Write everything that resuming needs, atomically."""
        tensors = {"return_scale": self.scale.moments}
        for name, module in self._modules():
            tensors |= module_tensors(module, name)
        tensors |= optimiser_tensors(self.actor_optimiser, "actor_adam")
        tensors |= optimiser_tensors(self.critic_optimiser, "critic_adam")
        write_described(path, tensors, self._about() | {"updates": self.updates})

    def load(self, path: PathLike) -> None:
        """Continue from a checkpoint; raises PWMError when it belongs to other members or settings."""
        tensors, about = read_described(path, _KIND)
        for name, value in self._about().items():
            if about.get(name) != value:
                raise PWMError(f"{path}: was made with other {name}; use another --out, or remove it to start again")
        for name, module in self._modules():
            load_module(module, name, tensors, path)
        load_optimiser(self.actor_optimiser, "actor_adam", tensors)
        load_optimiser(self.critic_optimiser, "critic_adam", tensors)
        self.scale.moments.copy_(tensors["return_scale"])
        self.updates = about["updates"]

    def _modules(self) -> list[tuple[str, torch.nn.Module]]:
        names = ("actor", "critic", "saved_actor", "target_critic")
        return [(name, getattr(self, name)) for name in names]

    def _about(self) -> dict:
        """What a checkpoint must agree on; the world model is known by a digest of its weights."""
        return {
            "kind": _KIND,
            "members": [list(pair) for pair in zip(self.tasks, self.seeds, strict=True)],
            "settings": to_dict(self.config),
            "world model": digest(self.model.state_dict()),
        }

    def _fit_critic(self, latents: Tensor, targets: Tensor) -> Tensor:
        """Regress the critics on (latents [H, N, B, z], targets [H, N, B]) in shuffled mini-batches; last loss [N]."""
        config = self.config
        horizon, members, batch = targets.shape
        rows = horizon * batch
        x = latents.transpose(0, 1).reshape(members, rows, -1)
        y = targets.transpose(0, 1).reshape(members, rows)
        loss = torch.zeros(members, device=y.device)
        for i in range(config.critic_passes):
            draw = random.uniform(self.shuffle_keys, self.updates * config.critic_passes + i, (rows,))
            for part in draw.argsort(dim=1).chunk(config.critic_splits, dim=1):
                picked = x.gather(1, part.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
                loss = critic_loss(self.critic, picked, y.gather(1, part))
                self._step(self.critic_optimiser, loss, config.critic_grad_norm)
                if config.critic_average > 0.0:
                    average_into(self.target_critic.parameters(), self.critic.parameters(), config.critic_average)
        return loss.detach()

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor, max_norm: float) -> Tensor:
        """Differentiate the sum of the members' losses, clip each member, and step; returns the norms [members]."""
        parameters = optimiser.param_groups[0]["params"]
        grads = torch.autograd.grad(loss.sum(), parameters)
        norms = clip_per_member(grads, self.members, max_norm)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimiser.step()
        return norms
