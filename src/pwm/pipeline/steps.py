"""The two steps of learning, as the commands, the quickstart and `import pwm` call them.

They add to the rooms' own functions what makes a folder a run: run.json, the clock, and words about what is skipped.
"""

from __future__ import annotations

import json
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
from pwm.data.store import EpisodeStore
from pwm.nn.native import description
from pwm.pipeline.forecast import forecast
from pwm.runtime.checkpoint import check_same, digest
from pwm.runtime.device import resolve_device
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.run_folder import read_run_file, record_step, refuse_changes
from pwm.runtime.stopwatch import Stopwatch
from pwm.world_model.config import PretrainConfig, WorldModelConfig, world_model_size
from pwm.world_model.estimate import estimate_pretrain, world_model_update_flops
from pwm.world_model.files import load_world_model, world_model_path
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import pretrain as pretrain_world_model


def pretrain(
    store: EpisodeStore,
    out: PathLike,
    model: WorldModelConfig | str = "48",
    config: PretrainConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "auto",
    *,
    command: str | None = None,
    clock: Stopwatch | None = None,
) -> WorldModel:
    """Pre-train one world model on all tasks of `store` and leave it in the run folder `out`.

    The same call again resumes, or returns the finished model. `model` is an architecture or the name of one
    ("tiny", "small", "1", "5", "19", "48", "317"); `config` defaults to the paper's settings; `command` is what
    run.json names as the way to do this again.

    Raises:
        PWMError: the data cannot be used, or `out` holds a world model of other data or settings.
    """
    device = resolve_device(device) if isinstance(device, str) else device
    model = world_model_size(model) if isinstance(model, str) else model
    config = config or PretrainConfig()
    made_from = {"tasks": list(store.tasks), "seed": seed, "data": store.fingerprint()}
    settings = {"model": model, "pretrain": config, "made_from": made_from}
    weights = world_model_path(out)
    checkpoint = weights.with_name("checkpoint.safetensors")
    done = _updates(checkpoint)
    if done:
        refuse_changes(out, settings)
    before = read_run_file(out).get("config", {})
    if "import" in before:
        raise PWMError(f"{out}: has an imported world model; use another --out")
    known = "pretrain" in before
    facts = {"command": command, "seed": seed, "data": _data(store), "tasks": _tasks(store)}
    record_step(out, "pretrain", settings, parts=description(device), **facts)
    if known and done >= config.updates and weights.exists():
        print(f"World model: skipped, pre-trained before ({done:,} updates, {weights})")
        return load_world_model(weights, device)
    if done:
        print(f"World model: resumes after update {done:,} of {config.updates:,}")
    flops = config.updates * world_model_update_flops(
        model, config.batch_size, config.horizon, len(store.tasks), store.observation_dim, store.action_dim
    )
    cure = "lower micro_batch, set recompute_steps, or choose a smaller size, with another --out"
    expected = partial(estimate_pretrain, store, model, config, device)
    with forecast(out, "pretrain", clock or Stopwatch(out), flops, expected, device, done > 0, cure):
        return pretrain_world_model(store, out, model, config, seed, device)


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
    """Learn one policy per task and seed in a frozen world model, and leave them in the run `out`.

    The same call again resumes, or returns the finished policies. `model` is a world model or the run folder that
    holds it (then `out` defaults to that run); `tasks` defaults to all of the model's; `config` to the paper's.
    All policies learn at once, as one fleet; `fleet` bounds how many, where memory does, and the rest follow.

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
    clock = clock or Stopwatch(out)
    return [
        policy
        for some_tasks, some_seeds in fleets(tasks, seeds, fleet)
        for policy in _learn_fleet(model, store, out, some_tasks, config, some_seeds, device, command, clock)
    ]


def fleets(tasks: list[str], seeds: list[int], most: int | None) -> list[tuple[list[str], list[int]]]:
    """The (tasks, seeds) of fleets with at most so many members: together every task with every seed, once.

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
) -> list[Policy]:
    """One fleet of `learn`."""
    made_in = {"world_model": digest(model.state_dict()), "data": store.fingerprint()}
    settings = {"policy": config, "learn": {"tasks": tasks, "seeds": seeds, **made_in}}
    members = [(task, seed) for task in tasks for seed in seeds]
    checkpoint = fleet_checkpoint(out, members)
    done = _updates(checkpoint)
    if done:  # before run.json says that it was done like this
        check_same(checkpoint, _about(checkpoint), fleet_description(model, store, members, config))
    else:
        check_free([policy_path(out, task, seed) for task, seed in members])
    before = read_run_file(out)
    # "policy" and "learn" are those of the last fleet; a run may hold several.
    settings["fleets"] = before.get("config", {}).get("fleets", {}) | {checkpoint.stem: dict(settings)}
    facts: dict[str, Any] = {"command": command}
    if not before.get("data"):
        facts["data"] = _data(store)
    if "pretrain" not in before.get("config", {}):  # a run of policies alone
        known = {task["id"]: task for task in [*before.get("tasks", []), *_tasks(store, tasks)]}
        facts |= {"seed": before.get("seed", seeds[0]), "tasks": list(known.values())}
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
    with forecast(out, f"learn {checkpoint.stem}", clock, flops, expected, device, done > 0, cure):
        return learn_policies(model, store, out, tasks, config, seeds, device)


def _updates(checkpoint: Path) -> int:
    """Updates done at a checkpoint, from its header alone; 0 where there is none that can be read."""
    return int(_about(checkpoint).get("updates", 0))


def _about(checkpoint: Path) -> dict[str, Any]:
    """The description in a checkpoint's header; empty where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="numpy") as file:
            return json.loads((file.metadata() or {})["pwm"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return {}  # whoever loads it says what is wrong


def _data(store: EpisodeStore) -> dict[str, Any]:
    return {
        "path": str(store.path.resolve()),
        "fingerprint": store.fingerprint(),
        "episodes": sum(len(store[task].lengths) for task in store.tasks),
        "transitions": sum(int(store[task].offsets[-1]) for task in store.tasks),
    }


def _tasks(store: EpisodeStore, tasks: Sequence[str] | None = None) -> list[dict[str, Any]]:
    names = ("id", "observation_dim", "action_dim", "episode_length", "action_repeat")
    return [
        {name: getattr(store[task], name) for name in names} for task in tasks or store.tasks if task in store.tasks
    ]
