"""Policies for collecting episodes: random actions, scripted policies, or policy files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pwm.acting.policy_file import DeployedPolicy, find_policies, load_policy
from pwm.acting.random_policy import random_policy
from pwm.acting.rollout import Act
from pwm.runtime.errors import PWMError
from pwm.runtime.files import sha256
from pwm.tasks.metaworld import scripted_policy
from pwm.tasks.registry import get_task
from pwm.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Part:
    """A number of episodes of one task by one policy.

    act        maps the seeds [E] of a group of episodes to its policy, before noise: [1, E, o] -> [1, E, a]
    policy     its name in the manifest: "random", "scripted", or the SHA-256 of a policy file
    noise      standard deviation of the normal noise added to every action, before clipping to [-1, 1]
    quality    tag, or None
    """

    spec: TaskSpec
    act: Callable[[Sequence[int]], Act]
    policy: str
    episodes: int
    noise: float = 0.0
    quality: str | None = None


def parts_of(
    policy: str, specs: Sequence[TaskSpec], episodes: int, levels: Sequence[tuple[float, str | None]], device: str
) -> list[Part]:
    """One part per level (noise, quality), task and policy.

    Args:
        policy: "random", "scripted", a policy file, or a run folder for all its policies.
        specs: the tasks; if empty, those of the policy files.
        episodes: of each part.
        levels: each is played for all tasks.
        device: for policy files: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        PWMError: the policy does not exist, there is none for one of the tasks, or its sizes differ from its task's.
    """
    if policy in ("random", "scripted"):
        make = _random if policy == "random" else _scripted
        actors = [(spec, make(spec), policy) for spec in specs]
    else:
        actors = _from_files(policy, [spec.id for spec in specs], device)
    return [Part(*actor, episodes, noise, quality) for noise, quality in levels for actor in actors]


def _random(spec: TaskSpec) -> Callable[[Sequence[int]], Act]:
    return lambda seeds: random_policy([spec], [seeds])


def _scripted(spec: TaskSpec) -> Callable[[Sequence[int]], Act]:
    act = scripted_policy(spec.id)
    return lambda seeds: lambda observations: np.stack([act(row) for row in observations[0]])[None]


def _from_files(
    path: str, tasks: Sequence[str], device: str
) -> list[tuple[TaskSpec, Callable[[Sequence[int]], Act], str]]:
    if not Path(path).exists():
        raise PWMError(f"--policy {path}: not random, not scripted, and no such file or run folder; check it")
    files = find_policies(path) if Path(path).is_dir() else [Path(path)]
    found = [(file, load_policy(file, device)) for file in files]
    known = [policy.task for _, policy in found]
    for task in tasks:
        if task not in known:
            raise PWMError(f"--policy {path}: no policy for task {task}; it has {known[0]}")
    chosen = [(file, policy) for file, policy in found if not tasks or policy.task in tasks]
    return [(_fitting(policy, file), partial(_by_mean, policy), sha256(file)) for file, policy in chosen]


def _by_mean(policy: DeployedPolicy, seeds: Sequence[int]) -> Act:
    return lambda observations: policy.act(observations[0])[None]


def _fitting(policy: DeployedPolicy, path: Path) -> TaskSpec:
    spec = get_task(policy.task)
    theirs, own = (policy.observation_dim, policy.action_dim), (spec.observation_dim, spec.action_dim)
    if theirs != own:
        raise PWMError(f"{path}: is for {spec.id} of sizes {theirs}, the task here has {own}; learn it again")
    return spec
