"""One update of a fleet of policies in a frozen world model: seconds per update.

The reference trains one policy at a time, so a fleet of N is measured against N times one of its updates. The library
runs with its preset `as_paper` (the actor's input is detached there, not in the reference) and draws its start states
from a store; the reference picks rows of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from benchmarks import workload
from benchmarks.harness import compare, seconds
from benchmarks.reference.convert import convert_actor, convert_critics, convert_world_model
from benchmarks.reference.policy_update import PolicyTrainer
from benchmarks.results import Context, Record, measured, skipped
from pwm.agents.pwm.config import PolicyConfig, policy_preset
from pwm.agents.pwm.estimate import learn_bytes, policy_update_flops
from pwm.data.store import EpisodeStore
from pwm.runtime.memory import free_bytes
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel

NAME = "policy_update"
FLEETS = (1, 8, 30, 80)
_ROUNDS_S = 30.0  # for rounds beyond the second
_QUICK_S = 6.0


def run(context: Context, fleets: tuple[int, ...] = FLEETS, config: PolicyConfig | None = None) -> Iterator:
    """Yields (name, record) for every size and fleet wanted."""
    config = replace(config or policy_preset("as_paper"), precision=context.precision)
    with workload.synthetic_store() as store:
        for size in context.sizes:
            if context.wants(f"{NAME}/{size}"):
                few = 1 if context.quick else 2 if context.brief else len(fleets)
                yield from _size(context, size, store, fleets[:few], config)


def _size(
    context: Context, size: str, store: EpisodeStore, fleets: tuple[int, ...], config: PolicyConfig
) -> Iterator[tuple[str, Record]]:
    """All fleets of one size, the small ones first: they tell what the large ones would take."""
    model = workload.world_model(world_model_size(size), store)
    trainer = reference(model, store, config, context.device)
    model.to(context.device).freeze()
    per_member = None
    for members in fleets:
        name = context.name(NAME, size, str(members))
        if not context.wants(name):
            continue
        budget = _QUICK_S if context.quick else context.budget_s
        if (
            members > 1 and per_member is None
        ):  # nothing of ours measured yet; a member costs no more than the reference
            trainer()
            per_member = seconds(trainer, context.device)
        needed = learn_bytes(model, store, [(store.tasks[0], seed) for seed in range(members)], config)
        reason = _too_much(context, needed, members, per_member, budget)
        if reason:
            yield name, skipped(context, reason)
            continue
        record = _fleet(context, model, store, config, members, trainer, budget)
        per_member = record["ours_s"] / members
        yield name, record


def _fleet(
    context: Context,
    model: WorldModel,
    store: EpisodeStore,
    config: PolicyConfig,
    members: int,
    trainer: Callable[[], object],
    budget: float,
) -> Record:
    learner = workload.fleet(model, store, config, members, context.device)
    cuda = context.device.type == "cuda"
    if cuda:
        learner.update()
        torch.cuda.reset_peak_memory_stats(context.device)
        seconds(learner.update, context.device)
        peak = torch.cuda.max_memory_allocated(context.device)
    result = compare(learner.update, trainer, context.device, budget_s=min(budget, _ROUNDS_S), reference_runs=members)
    flops = policy_update_flops(model.config, config, members, model.observation_dim, model.action_dim)
    shapes = {
        "members": members,
        "batch": config.batch_size,
        "horizon": config.horizon,
        "latent": model.config.latent_dim,
        "observation": model.observation_dim,
        "action": model.action_dim,
    }
    note = f"the reference is {members} x one policy" if members > 1 else "the reference is one policy"
    return measured(context, result, flops, shapes, note=note, peak_memory_bytes=peak if cuda else None)


def reference(
    model: WorldModel, store: EpisodeStore, config: PolicyConfig, device: torch.device
) -> Callable[[], object]:
    """The reference's update of one policy, with the weights that the library's has at the start."""
    learner = workload.fleet(model, store, config, 1)
    data = store[learner.tasks[0]]
    starts = torch.zeros(len(data.observations), model.observation_dim, device=device)
    starts[:, : data.observation_dim] = torch.tensor(data.observations, device=device)
    trainer = PolicyTrainer(
        convert_world_model(model).to(device),
        convert_actor(learner.actor, 0, config, model.config).to(device),
        convert_critics(learner.critic, 0, config, model.config).to(device),
        model.index(learner.tasks[0]),
        config,
    )

    def update() -> object:
        return trainer.update(starts[torch.randint(len(starts), (config.batch_size,), device=device)])

    return update


def _too_much(context: Context, needed: int, members: int, per_member: float | None, budget: float) -> str | None:
    """Why a fleet is not measured; None where it is."""
    free = free_bytes(context.device)
    if needed > 0.8 * free:
        return f"would need about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"
    estimate = 3 * members * (per_member or 0.0)  # a warm-up and two rounds
    return f"would take {estimate:.0f} s, the budget is {budget:.0f} s" if estimate > budget and members > 1 else None
