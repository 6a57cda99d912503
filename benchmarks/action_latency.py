"""From observations to actions with a deployed policy, NumPy in and NumPy out: seconds per call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks import workload
from benchmarks.flops import action_flops
from benchmarks.harness import compare
from benchmarks.reference.convert import convert_actor, convert_world_model
from benchmarks.results import Context, Record, measured
from pwm.policy.config import PolicyConfig
from pwm.policy.deployed import Policy, export_policies
from pwm.world_model.config import world_model_size

NAME = "action_latency"
OBSERVATIONS = (1, 64)


def run(context: Context) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for every size and number of observations wanted."""
    if context.quick:
        return
    with workload.synthetic_store(tasks=2) as store:
        for size in context.sizes:
            if not context.wants(f"{NAME}/{size}"):
                continue
            config = PolicyConfig()
            model = workload.world_model(world_model_size(size), store)
            policy, reference = pair(model, store, config, context.device)
            for count in OBSERVATIONS:
                name = context.name(NAME, size, str(count))
                if context.wants(name):
                    observations = np.random.default_rng(0).normal(size=(count, policy.observation_dim))
                    x = observations.astype(np.float32)
                    result = compare(lambda x=x: policy.act(x), lambda x=x: reference(x), context.device, rounds=40)
                    flops = action_flops(model.config, config, count, model.observation_dim, model.action_dim)
                    shapes = {"observations": count, "observation": policy.observation_dim}
                    yield name, measured(context, result, flops, shapes)


def pair(model, store, config: PolicyConfig, device: torch.device) -> tuple[Policy, Callable]:
    """A deployed policy and a function that gives the same actions with the reference's networks."""
    theirs = convert_world_model(model).to(device)
    model.freeze()
    learner = workload.fleet(model, store, config, 1)
    actor = convert_actor(learner.saved_actor, 0, config, model.config).to(device)
    task = torch.tensor([model.index(learner.tasks[0])], device=device)

    @torch.no_grad()
    def act(observations: np.ndarray) -> np.ndarray:
        latent = theirs.encode(torch.from_numpy(observations).to(device), task)
        return actor.mean(latent).cpu().numpy()

    return export_policies(learner)[0].to(device), act
