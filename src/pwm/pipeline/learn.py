"""`pwm.learn` and `pwm learn`: learns policies in a frozen world model, in a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pwm.acting.policy_file import check_free, policy_path
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.deployed import Policy
from pwm.agents.pwm.estimate import estimate_learn, policy_update_flops
from pwm.agents.pwm.learn import check_sizes, fleet_checkpoint
from pwm.agents.pwm.learn import learn as learn_policies
from pwm.agents.pwm.learner import fleet_description
from pwm.data.preflight import Finding, as_facts
from pwm.data.store import EpisodeStore
from pwm.nn.native import description
from pwm.pipeline.checks import before_learning, show
from pwm.pipeline.facts import data_facts, task_facts
from pwm.pipeline.timed_step import timed_step
from pwm.runtime.checkpoint import check_same, digest, peek_description, updates_done
from pwm.runtime.device import resolve_device
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.run_folder import read_run_file, record_step
from pwm.runtime.stopwatch import Stopwatch
from pwm.world_model.files import load_world_model
from pwm.world_model.model import WorldModel


@alone("out", "model")
def learn(
    model: WorldModel | PathLike,
    store: EpisodeStore,
    out: PathLike | None = None,
    tasks: Sequence[str] | None = None,
    config: PolicyConfig | None = None,
    seeds: Sequence[int] = (0,),
    device: torch.device | str = "auto",
    *,
    fleet: int | None = None,
    command: str | None = None,
    clock: Stopwatch | None = None,
) -> list[Policy]:
    """Learn one policy per task and seed in a frozen world model, in the run folder `out`.

    The same call again resumes, or returns the finished policies. What in the data does not fit the world model is
    printed, and kept in run.json.

    Args:
        model: a world model, or the run folder that holds it (then `out` defaults to that run).
        store: start states, and good actions for imitation.
        tasks: by default all of the model's.
        config: by default the paper's.
        fleet: most policies to learn at once, to bound memory; by default all, and otherwise the rest follow.
        command: repeats the learning, for run.json.

    Raises:
        PWMError: a task is unknown to model or data, sizes differ between them, or `out` holds policies that were
            learned with other settings.
    """
    device = resolve_device(device) if isinstance(device, str) else device
    config = config or PolicyConfig()
    if not isinstance(model, WorldModel):
        if out is None and Path(model).is_file():
            raise PWMError(f"{model}: is a file; name a run folder, or say where the policies go with `out`")
        out = model if out is None else out
        model = load_world_model(model, device)
    if out is None:
        raise PWMError("learn: `out` is missing; name the run folder that the policies go to")
    tasks, seeds = list(dict.fromkeys(tasks or model.tasks)), list(dict.fromkeys(seeds))
    for task in tasks:  # before run.json says that they belong together
        check_sizes(model, store, task)
    findings = show(before_learning(store, model, tasks))
    clock = clock or Stopwatch(out)
    return [
        policy
        for some_tasks, some_seeds in fleets(tasks, seeds, fleet)
        for policy in _learn_fleet(model, store, out, some_tasks, config, some_seeds, device, command, clock, findings)
    ]


def fleets(tasks: list[str], seeds: list[int], most: int | None) -> list[tuple[list[str], list[int]]]:
    """The (tasks, seeds) of fleets with at most `most` members, which together have every task with every seed once.

    Raises:
        PWMError: `most` is below one.
    """
    if most is None:
        return [(tasks, seeds)]
    if most < 1:
        raise PWMError(f"fleet is {most}, must be at least 1")
    across = min(most, len(seeds))
    down = most // across
    groups = [seeds[k : k + across] for k in range(0, len(seeds), across)]
    return [(tasks[k : k + down], group) for group in groups for k in range(0, len(tasks), down)]


def data_of(world_model: PathLike) -> str:
    """The folder of the data that the world model of a run (or of a weights file in a run) was trained on.

    Raises:
        PWMError: the run does not name it.
    """
    world_model = Path(world_model)
    run = world_model if world_model.is_dir() else world_model.parent.parent
    path = read_run_file(run).get("data", {}).get("path")
    if path is None:
        raise PWMError(f"{run}: has no run.json that names its data; add --data DIR")
    return str(path)


def _learn_fleet(
    model: WorldModel,
    store: EpisodeStore,
    out: PathLike,
    tasks: list[str],
    config: PolicyConfig,
    seeds: list[int],
    device: torch.device,
    command: str | None,
    clock: Stopwatch,
    findings: list[Finding],
) -> list[Policy]:
    """Learn one fleet of `learn`."""
    made_in = {"world_model": digest(model.state_dict()), "data": store.fingerprint()}
    settings = {"policy": config, "learn": {"tasks": tasks, "seeds": seeds, **made_in}}
    members = [(task, seed) for task in tasks for seed in seeds]
    checkpoint = fleet_checkpoint(out, members)
    done = updates_done(checkpoint)
    if done:  # before run.json says that it was done like this
        check_same(checkpoint, peek_description(checkpoint), fleet_description(model, store, members, config))
    else:
        check_free([policy_path(out, task, seed) for task, seed in members])
    before = read_run_file(out)
    # "policy" and "learn" are those of the last fleet; a run may hold several.
    settings["fleets"] = before.get("config", {}).get("fleets", {}) | {checkpoint.stem: dict(settings)}
    facts: dict[str, Any] = {"command": command}
    if not before.get("data"):
        facts["data"] = data_facts(store)
    if "pretrain" not in before.get("config", {}):  # a run with policies only
        known = {task["id"]: task for task in [*before.get("tasks", []), *task_facts(store, tasks)]}
        facts |= {"seed": before.get("seed", seeds[0]), "tasks": list(known.values())}
    facts["findings"] = as_facts([finding for finding in findings if finding.task in tasks])
    record_step(out, f"learn {checkpoint.stem}", settings, parts=description(device), **facts)
    if done >= config.total_updates:
        policies = learn_policies(model, store, out, tasks, config, seeds, device)
        print(f"Policies: skipped, {len(members)} learned before ({done:,} updates, {Path(out) / 'policies'})")
        return policies
    if done:
        print(f"Policies: resume after update {done:,} of {config.total_updates:,}")
    flops = config.updates * policy_update_flops(
        model.config, config, len(members), model.observation_dim, model.action_dim
    )
    cure = "learn fewer policies at once with --fleet N"
    expected = partial(estimate_learn, model, store, members, config, device)
    with timed_step(out, f"learn {checkpoint.stem}", clock, flops, expected, device, done > 0, cure):
        return learn_policies(model, store, out, tasks, config, seeds, device)
