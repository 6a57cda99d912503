"""Estimates the cost of policy learning: FLOP by formula, memory on the meta device, time from a few real updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import torch

from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learner import FleetLearner
from pwm.data.store import EpisodeStore
from pwm.nn.native import rehearsal
from pwm.runtime.estimate import Estimate, Point, at, describe, largest, timed
from pwm.runtime.memory import LiveTensors
from pwm.world_model.config import WorldModelConfig
from pwm.world_model.estimate import mlp_flops
from pwm.world_model.model import WorldModel

Members = Sequence[tuple[str, int]]
"""(task, seed) of each member of a fleet."""


def policy_update_flops(
    model: WorldModelConfig, config: PolicyConfig, members: int, observation_dim: int, action_dim: int
) -> int:
    """FLOP of the matrix products that an update of a fleet needs.

    Per member with B = batch_size, H = horizon, K critics: encoder B rows forward; dynamics and reward H*B rows forward
    and backward to inputs; actor H*B rows forward, weight gradients, and input gradients above the first layer; critics
    for the bootstrap B rows forward and backward to inputs; for the targets H*B rows forward; for regression
    passes * H*B rows forward, weight gradients, and input gradients above the first layer.
    """
    z, a = model.latent_dim, action_dim
    batch, rows = config.batch_size, config.batch_size * config.horizon
    actor = (z, *config.actor_units, a)
    critic = (z, *config.critic_units, 1)
    total = mlp_flops(batch, (observation_dim, *model.encoder_units, z))
    total += 2 * mlp_flops(rows, (z + a, *model.units, z))
    total += 2 * mlp_flops(rows, (z + a, *model.units, model.bins))
    total += 2 * mlp_flops(rows, actor)
    total += mlp_flops(rows, actor if not config.detach_actor_input else actor[1:])
    critics = 2 * mlp_flops(batch, critic) + mlp_flops(rows, critic)
    critics += config.critic_passes * (2 * mlp_flops(rows, critic) + mlp_flops(rows, critic[1:]))
    return members * (total + config.critics * critics)


def phase_flops(model: WorldModelConfig, config: PolicyConfig, observation_dim: int, action_dim: int) -> dict[str, int]:
    """FLOP of the matrix products of one member's update, in each of `config.phases`.

    Imitation has B = behaviour_batch rows: encoder forward; actor forward, weight gradients, and input gradients above
    the first layer. Critics alone skip the actor's gradients, which measures as a few per cent less.
    """
    z, batch = model.latent_dim, config.behaviour_batch
    actor = (z, *config.actor_units, action_dim)
    imitation = mlp_flops(batch, (observation_dim, *model.encoder_units, z))
    imitation += 2 * mlp_flops(batch, actor) + mlp_flops(batch, actor[1:])
    imagination = policy_update_flops(model, config, 1, observation_dim, action_dim)
    imagination += imitation if config.behaviour_weight > 0 else 0
    return {"imitation": imitation, "critics": imagination, "imagination": imagination}


def action_flops(
    model: WorldModelConfig, config: PolicyConfig, rows: int, observation_dim: int, action_dim: int
) -> int:
    """FLOP of deterministic actions for `rows` observations: encoder and actor forward."""
    z = model.latent_dim
    encoder = mlp_flops(rows, (observation_dim, *model.encoder_units, z))
    return encoder + mlp_flops(rows, (z, *config.actor_units, action_dim))


def learn_bytes(model: WorldModel, store: EpisodeStore, members: Members, config: PolicyConfig) -> int:
    """Peak bytes of all tensors in a fleet's update: world model, networks, Adam's moments, and the live tensors of the
    update when it runs on the meta device, whose tensors have shapes and no content.

    Members cost the same, so large fleets are extrapolated from one and two members.
    """
    points = _bytes_of_one_and_two(model, store, members, config)
    return round(at(points, len(members)))


def members_that_fit(
    model: WorldModel, store: EpisodeStore, config: PolicyConfig, available_bytes: float, share: float = 0.9
) -> int:
    """How many policies with these settings can learn at once in a fraction of the available memory; may be 0."""
    points = _bytes_of_one_and_two(model, store, [(model.tasks[0], 0)], config)
    return largest(points, share * available_bytes)


def _bytes_of_one_and_two(
    model: WorldModel, store: EpisodeStore, members: Members, config: PolicyConfig
) -> list[Point]:
    task, points = members[0][0], []
    for n in (1, 2):
        blank = deepcopy(model).to("meta")  # one each, since a frozen model prepares its weights once
        with rehearsal(model.embedding.device):
            points.append((n, _rehearse(blank, store, [(task, seed) for seed in range(n)], config)))
    return points


def _rehearse(model: WorldModel, store: EpisodeStore, members: Members, config: PolicyConfig) -> int:
    """Bytes of a fleet whose world model is on the meta device."""
    learner = _fleet(model, store, members, replace(config, cuda_graph=False), "meta")
    learner.updates = config.behaviour_updates + config.critic_warmup  # an update that trains everything
    for optimiser in (learner.actor_optimiser, learner.critic_optimiser):
        optimiser.step = lambda: None  # type: ignore[method-assign, assignment]  # in place; not for meta tensors
    with LiveTensors() as live:
        learner.update()
    trained = sum(p.numel() for module in (learner.actor, learner.critic) for p in module.parameters())
    frozen = sum(p.numel() for p in model.parameters())
    return live.peak + 4 * (4 * trained + frozen)  # weights, their averages, Adam's two moments; float32


def estimate_learn(
    model: WorldModel, store: EpisodeStore, members: Members, config: PolicyConfig, device: torch.device | str
) -> Estimate:
    """Estimate what learning these members takes, from updates of fleets of growing size.

    Every phase of learning is measured separately. The fleets are temporary, and the world model does not change.
    """
    seconds, words, first = 0.0, [], 0
    for phase, updates in config.phases.items():
        if updates:
            points = timed(_updates(model, store, members, config, device, first), len(members), device, start=1)
            seconds += updates * at(points, len(members))
            words.append(f"{phase}, {describe(points, 'policies')}")
        first += updates
    return Estimate(seconds, learn_bytes(model, store, members, config), f"updates of {'; '.join(words)}")


def _updates(
    model: WorldModel,
    store: EpisodeStore,
    members: Members,
    config: PolicyConfig,
    device: torch.device | str,
    first: int,
) -> Callable[[int], Callable[[], object]]:
    """Returns a function that makes, for a number of members, a function that runs updates from update `first` on."""

    def make(count: int) -> Callable[[], object]:
        learner = _fleet(model, store, members[:count], config, device)
        learner.updates = first
        return learner.update

    return make


def _fleet(
    model: WorldModel, store: EpisodeStore, members: Members, config: PolicyConfig, device: torch.device | str
) -> FleetLearner:
    return FleetLearner(model, store, [task for task, _ in members], [seed for _, seed in members], config, device)
