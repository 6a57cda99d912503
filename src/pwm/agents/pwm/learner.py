"""A fleet of policies that learn in one frozen world model as one batch (paper Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.agents.pwm.imagination import ImaginedRollout
from pwm.agents.pwm.imitation import imitation_weights
from pwm.agents.pwm.losses import PolicyBatch, actor_loss, alive, behaviour_loss, critic_gradients, critic_targets
from pwm.data.states import StateSource
from pwm.data.store import EpisodeStore
from pwm.learning.optimiser import adam, set_rate
from pwm.learning.schedules import ReturnScale, average_into, linear_decay
from pwm.nn.adam import clipped_step
from pwm.nn.products import lowered, resolve_precision, set_precision
from pwm.runtime import random
from pwm.runtime.captured import CapturedStep
from pwm.runtime.checkpoint import (
    check_same,
    described,
    digest,
    load_module,
    load_optimiser,
    module_tensors,
    optimiser_tensors,
    read_described,
    write_described,
)
from pwm.runtime.config import to_dict
from pwm.runtime.files import PathLike
from pwm.world_model.model import WorldModel

_FREE = ("checkpoint_every", "log_every", "cuda_graph")
CHECKPOINT_KIND = "policy checkpoint"
_ROLES = ("actor", "critic", "noise", "starts", "shuffle", "good")


class FleetLearner:
    """Actors, critics and their optimisers for N members, which one `update` trains together.

    Members are independent: each has its own random stream, return scale and gradient clipping, so member k equals the
    policy that the same seed and task would train alone (up to the rounding of batched products).

    Args:
        model: a frozen world model.
        store: the episodes that start states are drawn from.
        tasks, seeds: task and seed of each member.
        config: settings.
        device: of all tensors.
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
        self.model, self.store, self.config, self.device = model, store, config, device
        self.tasks, self.seeds = tuple(tasks), tuple(seeds)
        self.members = len(self.tasks)
        widths = (model.observation_dim, model.action_dim)
        self.source = StateSource(store, tasks, device, None, widths, config.early_starts)
        self.good = None
        if config.behaviour_weight > 0.0:
            weights = {task: imitation_weights(model, store, task, config) for task in dict.fromkeys(tasks)}
            self.good = StateSource(store, tasks, device, weights, widths, config.early_starts)
        keys = [[random.key_of(s, t, role) for s, t in zip(seeds, self.tasks, strict=True)] for role in _ROLES]
        z = model.config.latent_dim
        self.actor = FleetActor(z, model.action_dim, config, keys[0]).to(device)
        self.critic = FleetCritic(z, config, keys[1]).to(device)
        # States are read on the host, so their random numbers are drawn there too, to avoid a sync.
        homes = (device, "cpu", device, "cpu")
        streams = (torch.tensor(k, device=home) for k, home in zip(keys[2:], homes, strict=True))
        self.noise_keys, self.start_keys, self.shuffle_keys, self.good_keys = streams
        self.counter = torch.zeros((), dtype=torch.int64, device=device)
        for module in (model, self.actor, self.critic):
            set_precision(module, resolve_precision(config.precision, device))
        self.averaged_actor = deepcopy(self.actor).requires_grad_(False)
        self.target_critic = deepcopy(self.critic).requires_grad_(False)
        self.scale = ReturnScale(self.members, config.return_scale, config.return_scale_decay, device)
        rates = config.actor_learning_rate, config.critic_learning_rate
        self.actor_optimiser, self.critic_optimiser = (
            adam(module.parameters(), device, rate, betas=config.betas)
            for module, rate in zip((self.actor, self.critic), rates, strict=True)
        )
        self._run = CapturedStep(self._phase, device, config.cuda_graph)
        with torch.no_grad():
            self.bound = model.bind(self.tasks).scaled()
        self.updates = 0

    def batch(self) -> PolicyBatch:
        """The batch of the next imagined update, a function of the members' seeds and the update number."""
        config = self.config
        observations = self.source.states(self.source.draw(self.start_keys, self.updates, config.batch_size))
        shape = (config.horizon, config.batch_size, self.model.action_dim)
        noise = random.normal(self.noise_keys, self.updates, shape).transpose(0, 1)
        return PolicyBatch(observations, noise, *(self.good_states() if self.good else ()))

    def good_states(self) -> tuple[Tensor, Tensor]:
        """The anchor's observations and actions for the next update."""
        assert self.good is not None
        return self.good.gather(self.good.draw(self.good_keys, self.updates, self.config.behaviour_batch))

    def update(self) -> dict[str, Tensor]:
        """The next update of every member; returns metrics, each [members].

        Returns, rewards and values are in the task's units, where `reward_space` is "true". The first
        `behaviour_updates` are imitation only. Each of the `updates` after them has one imagined rollout, an
        actor step (except during the critics' warm-up) and `critic_passes * critic_splits` critic steps.
        """
        config, step = self.config, self.updates - self.config.behaviour_updates
        if step < 0:
            self._prepare(config.behaviour_learning_rate, self.updates, config.behaviour_updates)
            metrics = self._run("imitate", *self.good_states())
        else:
            self._prepare(config.actor_learning_rate, step, config.updates)
            metrics = self._run("imagine" if step >= config.critic_warmup else "critics", *self.batch())
        decay = min(config.actor_average, self.updates / (self.updates + 10.0))
        average_into(self.averaged_actor.parameters(), self.actor.parameters(), decay)
        self.updates += 1
        return metrics

    def refresh(self, store: EpisodeStore | None = None, weights: Mapping[str, np.ndarray] | None = None) -> None:
        """Take over changed weights of the world model, which must be frozen again first.

        Args:
            store: draw start states from these episodes from now on, with these `weights` (see `StateSource`).
        """
        if store is not None:
            widths = (self.model.observation_dim, self.model.action_dim)
            early = self.config.early_starts
            self.store, self.source = store, StateSource(store, self.tasks, self.device, weights, widths, early)
        self.bound.refresh()
        self._run.forget()  # its graph reads copies of the weights
        self.__dict__.pop("about", None)

    def _phase(self, phase: str, *tensors: Tensor) -> dict[str, Tensor]:
        """The part of an update that CUDA graphs record; it must not sync."""
        if phase == "imitate":
            return self._imitate(*tensors)
        return self._imagine(PolicyBatch(*tensors), move_actor=phase == "imagine")

    def _prepare(self, actor_rate: float, step: int, total: int) -> None:
        """Set the step sizes of update `step` of a phase of `total`, and the counter for its shuffles."""
        end = self.config.final_learning_rate
        critic_rate = self.config.critic_learning_rate
        set_rate(self.actor_optimiser.param_groups[0], linear_decay(actor_rate, end, step, total))
        set_rate(self.critic_optimiser.param_groups[0], linear_decay(critic_rate, end, step, total))
        self.counter.fill_(self.updates)

    def _imitate(self, observations: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """One step of imitation."""
        loss = behaviour_loss(self.actor, self.bound, observations, actions)
        norms = self._step(self.actor_optimiser, loss, self.config.actor_grad_norm, unused=True)
        return {"behaviour_loss": loss.detach(), "actor_grad_norm": norms}

    def _imagine(self, batch: PolicyBatch, move_actor: bool) -> dict[str, Tensor]:
        """One actor step through an imagined rollout, and the critics' fit to it."""
        config = self.config
        critic = self.target_critic if config.critic_average > 0.0 else self.critic.requires_grad_(False)
        with torch.set_grad_enabled(move_actor):
            terms = actor_loss(self.actor, critic, self.bound, batch, self.scale.std(), config)
        self.critic.requires_grad_(True)
        norms = torch.zeros(self.members, device=terms.loss.device)
        if move_actor:
            norms = self._step(self.actor_optimiser, terms.loss, config.actor_grad_norm)
        returns, behaviour = terms.returns, terms.behaviour
        rollout = ImaginedRollout(*(None if x is None else x.detach() for x in terms.rollout))
        del terms  # frees the graph
        self.scale.update(returns)
        targets = critic_targets(critic, rollout, config)
        units = self.bound.reward_scale.squeeze(-1)
        return {
            "imagined_return": returns.mean(dim=1) * units,
            "imagined_reward": rollout.rewards.mean(dim=(0, 2)) * units,
            "value": targets.mean(dim=(0, 2)) * units,
            "actor_grad_norm": norms,
            "critic_loss": self._fit_critic(rollout, targets),
            "behaviour_loss": behaviour,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Everything that resuming needs, by name; together with `updates`."""
        tensors = {"return_scale": self.scale.moments}
        for name, module in self._modules():
            tensors |= module_tensors(module, name)
        tensors |= optimiser_tensors(self.actor_optimiser, "actor_adam")
        return tensors | optimiser_tensors(self.critic_optimiser, "critic_adam")

    def restore(self, tensors: dict[str, Tensor], updates: int, path: PathLike) -> None:
        """Restore what `tensors` returned; raises PWMError naming `path` if it does not fit."""
        for name, module in self._modules():
            load_module(module, name, tensors, path)
        load_optimiser(self.actor_optimiser, "actor_adam", tensors)
        load_optimiser(self.critic_optimiser, "critic_adam", tensors)
        self.scale.moments.copy_(tensors["return_scale"])
        self.updates = updates

    def save(self, path: PathLike) -> None:
        """Write a checkpoint to `path`, atomically."""
        write_described(path, self.tensors(), self.about | {"updates": self.updates})

    def load(self, path: PathLike) -> None:
        """Resume from a checkpoint; raises PWMError if it has other members or settings."""
        tensors, about = read_described(path, CHECKPOINT_KIND)
        check_same(path, about, self.about)
        with described(path):
            self.restore(tensors, about["updates"], path)

    def _modules(self) -> list[tuple[str, torch.nn.Module]]:
        """The networks with their names in checkpoints."""
        return [
            ("actor", self.actor),
            ("critic", self.critic),
            ("saved_actor", self.averaged_actor),
            ("target_critic", self.target_critic),
        ]

    @cached_property
    def about(self) -> dict:
        """What a checkpoint must agree with to be resumed."""
        return fleet_description(self.model, self.store, zip(self.tasks, self.seeds, strict=True), self.config)

    def _fit_critic(self, rollout: ImaginedRollout, targets: Tensor) -> Tensor:
        """Fit the critics to a rollout's targets [H, N, B] in shuffled mini-batches; returns the last loss [N]."""
        config = self.config
        horizon, members, batch = targets.shape
        rows = horizon * batch
        x = lowered(rollout.latents[:-1], self.critic.net.precision).transpose(0, 1).reshape(members * rows, -1)
        first = torch.arange(0, members * rows, rows, device=x.device).unsqueeze(1)
        y = targets.transpose(0, 1).reshape(members, rows)
        counts = None
        if rollout.continues is not None:
            counts = alive(rollout.continues).transpose(0, 1).reshape(members, rows)
        loss = torch.zeros(members, device=y.device)
        for i in range(config.critic_passes):
            draw = random.uniform(self.shuffle_keys, self.counter * config.critic_passes + i, (rows,))
            for part in draw.argsort(dim=1).chunk(config.critic_splits, dim=1):
                picked = x.index_select(0, (part + first).flatten()).unflatten(0, part.shape)
                weights = None if counts is None else counts.gather(1, part)
                loss, grads = critic_gradients(self.critic, picked, y.gather(1, part), weights)
                clipped_step(self.critic_optimiser, grads, self.members, config.critic_grad_norm)
                if config.critic_average > 0.0:
                    average_into(self.target_critic.parameters(), self.critic.parameters(), config.critic_average)
        return loss

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor, max_norm: float, unused: bool = False) -> Tensor:
        """Differentiate the sum of the members' losses, clip each member, and step; returns the norms [members].

        `unused`: the loss does not depend on every parameter (imitation does not depend on the noise).
        """
        parameters = optimiser.param_groups[0]["params"]
        grads = torch.autograd.grad(loss.sum(), parameters, materialize_grads=unused)
        return clipped_step(optimiser, grads, self.members, max_norm)


def fleet_description(
    model: WorldModel, store: EpisodeStore, members: Iterable[tuple[str, int]], config: PolicyConfig
) -> dict:
    """What identifies a fleet's training: members, settings, data, and a digest of the world model."""
    policy = {name: value for name, value in to_dict(config).items() if name not in _FREE}
    if policy["behaviour_by"] == "auto":  # checkpoints from before there was a choice go on
        del policy["behaviour_by"]
    return {
        "kind": CHECKPOINT_KIND,
        "members": [list(member) for member in members],
        "policy": policy,
        "data": store.fingerprint(),
        "world model": digest(model.state_dict()),
    }
