"""Learning a fleet of policies from a run's frozen world model (paper Algorithm 1, second loop)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pwm.data.store import EpisodeStore
from pwm.policy.config import PolicyConfig
from pwm.policy.deployed import Policy, export_policies, policy_path
from pwm.policy.learner import FleetLearner
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.metrics import MetricsLog
from pwm.runtime.progress import progress
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
    """Learn one policy per task and seed, all as one batch, and leave them in the run folder `out`.

    Writes `policies/<task>/seed<k>.safetensors` at the end, `policies/checkpoint.safetensors` on the way, and lines of
    phase "policy" to `metrics.jsonl`. The same call resumes from the checkpoint.

    Raises:
        PWMError: a task is unknown to the model or the store, its sizes differ between the two, the checkpoint belongs
            to other settings, or a loss is not finite.
    """
    members = [(task, seed) for task in dict.fromkeys(tasks) for seed in dict.fromkeys(seeds)]
    for task, _ in members:
        _check_sizes(model, store, task)
    model.to(device).freeze()
    learner = FleetLearner(model, store, *zip(*members, strict=True), config, device)
    checkpoint = Path(out) / "policies" / "checkpoint.safetensors"
    if checkpoint.exists():
        learner.load(checkpoint)
    with MetricsLog(Path(out)) as log, progress("Policies", config.updates, learner.updates) as bar:
        log.truncate("policy", learner.updates)
        while learner.updates < config.updates:
            values = learner.update()
            step, last = learner.updates, learner.updates == config.updates
            if step % config.log_every == 0 or last:
                _log(log, step, members, values)
                bar.advance(0, **{"return": float(values["imagined_return"].mean())})
            bar.advance(1)
            if step % config.checkpoint_every == 0 or last:
                learner.save(checkpoint)
    policies = export_policies(learner)
    for policy in policies:
        policy.save(policy_path(out, policy.task, policy.seed))
    return policies


def _check_sizes(model: WorldModel, store: EpisodeStore, task: str) -> None:
    row, data = model.index(task), store[task]
    ours, theirs = (model.observation_dims[row], model.action_dims[row]), (data.observation_dim, data.action_dim)
    if ours != theirs:
        raise PWMError(
            f"task {task}: the world model has (observation, action) sizes {ours}, the data {theirs}; "
            "use the data that the model was trained on"
        )


def _log(log: MetricsLog, step: int, members: Sequence[tuple[str, int]], values: dict[str, torch.Tensor]) -> None:
    rows = {name: value.tolist() for name, value in values.items()}
    for k, (task, seed) in enumerate(members):
        numbers = {name: row[k] for name, row in rows.items()}
        bad = [name for name, number in numbers.items() if number != number]
        if bad:
            raise PWMError(f"policy {task}, seed {seed}: {bad[0]} is not a number at update {step}; lower step sizes")
        log.write("policy", step, numbers, task, seed)
