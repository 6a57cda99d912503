"""Learns a fleet of policies in a frozen world model (paper Algorithm 1, second loop)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pwm.acting.policy_file import check_free, load_policy, policy_path
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.deployed import Policy, export_policies
from pwm.agents.pwm.estimate import phase_flops
from pwm.agents.pwm.learner import FleetLearner
from pwm.data.store import EpisodeStore
from pwm.learning.loop import train
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.progress import Phase
from pwm.runtime.random import key_of
from pwm.world_model.model import WorldModel


def learn(
    model: WorldModel,
    store: EpisodeStore,
    out: PathLike,
    tasks: Sequence[str],
    config: PolicyConfig,
    seeds: Sequence[int] = (0,),
    device: torch.device | str = "cpu",
) -> list[Policy]:
    """Learn one policy per task and seed in the run folder `out`, all as one batch.

    Writes `policies/<task>/seed<k>.safetensors` at the end, `policies/fleet-<key>.safetensors` during training, and
    lines of phase "policy" to `metrics.jsonl`. The same call resumes from that checkpoint, or returns the finished
    policies. A run may hold several fleets, as long as no two policies share task and seed.

    Raises:
        PWMError: a task is unknown to the model or the store, its sizes differ between them, the checkpoint has other
            settings, a policy file belongs to another fleet, or a loss is not finite.
    """
    members = [(task, seed) for task in dict.fromkeys(tasks) for seed in dict.fromkeys(seeds)]
    for task, _ in members:
        check_sizes(model, store, task)
    model.to(device).freeze()
    learner = FleetLearner(model, store, *zip(*members, strict=True), config, device)
    checkpoint = fleet_checkpoint(out, members)
    files = [policy_path(out, task, seed) for task, seed in members]
    if checkpoint.exists():
        learner.load(checkpoint)
    else:
        check_free(files)
    if learner.updates >= config.total_updates and all(file.exists() for file in files):
        return [load_policy(file, device) for file in files]
    costs = phase_flops(model.config, config, model.observation_dim, model.action_dim)
    train(
        learner,
        config.total_updates,
        checkpoint,
        out,
        "policy",
        "Policies",
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        failure="policy {task}, seed {seed}: {name} is {number} at update {step}; learn again with lower "
        "actor_learning_rate and critic_learning_rate into another --out{kept}",
        members=members,
        shown=("imagined_return", "behaviour_loss"),
        phases=[Phase(name, updates, float(costs[name])) for name, updates in config.phases.items()],
    )
    policies = export_policies(learner)
    for policy, file in zip(policies, files, strict=True):
        policy.save(file)
    return policies


def fleet_checkpoint(out: PathLike, members: Sequence[tuple[str, int]]) -> Path:
    """Path in a run folder of the training state of the fleet with these (task, seed) members."""
    return Path(out) / "policies" / f"fleet-{key_of(*(part for member in members for part in member)):016x}.safetensors"


def check_sizes(model: WorldModel, store: EpisodeStore, task: str) -> None:
    """Raise PWMError if a task's sizes differ between model and data, or one of them does not have it."""
    row, data = model.index(task), store[task]
    ours, theirs = (model.observation_dims[row], model.action_dims[row]), (data.observation_dim, data.action_dim)
    if ours != theirs:
        raise PWMError(
            f"task {task}: the world model has (observation, action) sizes {ours}, the data {theirs}; "
            "use the data that the model was trained on"
        )
