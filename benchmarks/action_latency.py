"""From observations to actions with a deployed policy, NumPy in and NumPy out: seconds per call.

The rows named "planner" stand beside planning as TD-MPC2 does it, in the same world model with the same actor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks import workload
from benchmarks.harness import compare, seconds
from benchmarks.reference.convert import convert_actor, convert_world_model
from benchmarks.reference.networks import WorldModel as ReferenceModel
from benchmarks.results import Context, Record, measured, skipped
from pwm.agents.plan_config import PlanConfig
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.deployed import Policy, export_policies
from pwm.agents.pwm.estimate import action_flops
from pwm.agents.pwm.learner import FleetLearner
from pwm.agents.pwm.planned import untrained
from pwm.world_model.config import world_model_size

NAME = "action_latency"
OBSERVATIONS = (1, 64)
Act = Callable[[np.ndarray], np.ndarray]


def run(context: Context) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for every size and number of observations wanted."""
    if context.quick:
        return
    for size in context.sizes:
        names = [(context.name(NAME, size, str(count)), count) for count in OBSERVATIONS]
        names = [(name, count) for name, count in names if context.wants(name)]
        if not context.wants(f"{NAME}/{size}"):
            continue
        config = PolicyConfig()
        task, widths = next(iter(workload.MT30.items()))
        (policy,), (reference,) = deployed({task: widths}, size, config, context.device)
        for name, count in names:
            x = np.random.default_rng(0).normal(size=(count, widths[0])).astype(np.float32)
            result = compare(lambda: policy.act(x), lambda: reference(x), context.device, rounds=40)  # noqa: B023
            flops = action_flops(world_model_size(size), config, count, *widths)
            yield name, measured(context, result, flops, {"observations": count, "observation": widths[0]})
        yield from _planner(context, size, policy, {task: widths}, config)


def _planner(
    context: Context, size: str, policy: Policy, sizes: dict[str, tuple[int, int]], config: PolicyConfig
) -> Iterator[tuple[str, Record]]:
    """The policy beside planning."""
    names = [(context.name(NAME, size, "planner", str(count)), count) for count in OBSERVATIONS]
    names = [(name, count) for name, count in names if context.wants(name)]
    if not names:
        return
    ((task, widths),) = sizes.items()
    with workload.synthetic_store(sizes, episodes=2, length=config.horizon) as store:
        model = workload.world_model(world_model_size(size), store)
    planner = untrained(model, config, PlanConfig(), task).to(context.device)
    one = np.zeros((1, widths[0]), np.float32)
    planner.act(one)
    each = seconds(lambda: planner.act(one), context.device)
    for name, count in names:
        if 4 * count * each > context.budget_s:  # two to warm up and two rounds
            yield name, skipped(context, f"would take {4 * count * each:.0f} s, the budget is {context.budget_s:.0f} s")
            continue
        x = np.random.default_rng(0).normal(size=(count, widths[0])).astype(np.float32)
        policy_act, plan_act = (lambda p=p, x=x: p.act(x) for p in (policy, planner))
        result = compare(policy_act, plan_act, context.device, rounds=20, budget_s=context.budget_s)
        flops = action_flops(world_model_size(size), config, count, *widths)
        note = "the reference is planning: 512 samples, 6 iterations, 3 steps"
        yield name, measured(context, result, flops, {"observations": count, "observation": widths[0]}, note=note)


def deployed(
    sizes: dict[str, tuple[int, int]], size: str, config: PolicyConfig, device: torch.device
) -> tuple[list[Policy], list[Act]]:
    """Untrained policies for tasks of these widths, and functions that act alike with the reference's networks."""
    with workload.synthetic_store(sizes, episodes=2, length=config.horizon) as store:
        model = workload.world_model(world_model_size(size), store)
        theirs = convert_world_model(model).to(device)
        learner = workload.fleet(model.freeze(), store, config, len(sizes))
        policies = [policy.to(device) for policy in export_policies(learner)]
        acts = [_reference(theirs, learner, k, device) for k in range(len(sizes))]
    return policies, acts


def _reference(theirs: ReferenceModel, learner: FleetLearner, member: int, device: torch.device) -> Act:
    model = learner.model
    actor = convert_actor(learner.averaged_actor, member, learner.config, model.config).to(device)
    row = model.index(learner.tasks[member])
    task, actions = torch.tensor([row], device=device), model.action_dims[row]

    @torch.no_grad()
    def act(observations: np.ndarray) -> np.ndarray:
        wide = np.zeros((len(observations), model.observation_dim), np.float32)
        wide[:, : observations.shape[1]] = observations
        latent = theirs.encode(torch.from_numpy(wide).to(device), task)
        return actor.mean(latent).cpu().numpy()[:, :actions]

    return act
