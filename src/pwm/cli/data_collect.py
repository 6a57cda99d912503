"""`pwm data collect`: episodes from simulators into an episode store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pwm.cli.parse import counted, parse
from pwm.runtime.errors import PWMError

if TYPE_CHECKING:
    from pwm.acting.collect import Act, Part, Record
    from pwm.acting.environments import Table
    from pwm.acting.policy_file import DeployedPolicy
    from pwm.acting.workers import Workers
    from pwm.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Collect:
    """Play episodes in simulators and write them to a new episode store.

    --noise and --quality may name several levels; each is played for --episodes episodes of every task. A good, a
    middling and a poor part of each task's data: --noise 0 0.3 1 --quality expert medium poor. The manifest records
    policy, noise, seeds and versions."""

    out: Path
    """Folder of the new episode store."""
    policy: str = "random"
    """random; scripted (Meta-World's own, tasks mw-...); a policy file; or a run folder, for all its policies."""
    tasks: tuple[str, ...] = ()
    """Tasks to play; of a policy file or run, none means its own."""
    task_set: str | None = None
    """Instead of --tasks: a set of them, such as mt30 or metaworld-50."""
    episodes: int = 10
    """Episodes per task, policy and level of noise."""
    noise: tuple[float, ...] = (0.0,)
    """Standard deviation of the normal noise added to actions, which are clipped to [-1, 1] after it."""
    quality: tuple[str, ...] = ()
    """Tag of the episodes of each level of noise; one tag serves all, none leaves them untagged."""
    seed: int = 0
    """Seed that the episodes' own seeds are made from."""
    device: str = "cpu"
    """Where a policy file runs: auto, cpu, cuda or cuda:N."""
    workers: int | None = None
    """Processes that step the environments, this one among them; 0 and 1 start no other. None takes all cores where
    that pays. The episodes do not depend on it."""
    threads: int | None = None
    """CPU threads; none leaves PyTorch's choice."""


def collect(arguments: Sequence[str]) -> int:
    args = parse(Collect, "data collect", arguments)

    from pwm.acting import collect as collecting
    from pwm.acting.environments import Table
    from pwm.acting.workers import Workers, choose_workers
    from pwm.runtime.device import set_threads

    set_threads(args.threads)
    tags = args.quality or (None,)
    tags = tags * len(args.noise) if len(tags) == 1 else tags
    if not args.noise or len(tags) != len(args.noise):
        raise PWMError(f"--quality names {len(tags)} tags for {len(args.noise)} levels of --noise; need one or as many")
    parts = [part for noise, tag in zip(args.noise, tags) for part in _parts(args, noise, tag)]
    widths = {(part.spec.observation_dim, part.spec.action_dim) for part in parts}
    capacity = max(Table.size(collecting.SIDE_BY_SIDE, *pair) for pair in widths)
    workers = choose_workers(args.workers, sum(part.episodes * part.spec.episode_length for part in parts))
    with Workers(workers, capacity) as pool:
        collecting.collect(args.out, parts, args.seed, partial(play, pool))
    count, tasks = sum(part.episodes for part in parts), len({part.spec.id for part in parts})
    print(f"{counted(count, 'episode')} of {counted(tasks, 'task')} in {args.out}. Next: pwm data inspect {args.out}")
    return 0


def play(pool: Workers, spec: TaskSpec, act: Act, seeds: Sequence[int], record: Record) -> None:
    """Episodes side by side, as `pwm evaluate` plays them."""
    from pwm.acting.rollout import run_episodes

    def watch(table: Table) -> None:
        arrays = (table.observations, table.actions, table.rewards, table.terminated, table.lengths)
        record(*(array[0] for array in arrays))

    run_episodes([spec], lambda observations: act(observations[0])[None], [seeds], None, None, pool, watch)


def _parts(args: Collect, noise: float, tag: str | None) -> list[Part]:
    """One part per task and policy."""
    from pwm.acting.collect import Part
    from pwm.runtime.files import sha256
    from pwm.tasks.registry import get_task

    kinds = {"random": _random, "scripted": _scripted}
    if args.policy in kinds:
        make = kinds[args.policy]
        return [Part(spec, make(spec), args.policy, args.episodes, noise, tag) for spec in _specs(args)]
    found = _policies(Path(args.policy), args.device)
    wanted = [spec.id for spec in _specs(args)] if args.tasks or args.task_set else [policy.task for _, policy in found]
    for task in wanted:
        if task not in [policy.task for _, policy in found]:
            raise PWMError(f"--policy {args.policy}: no policy for task {task}; it has {found[0][1].task}")
    return [
        Part(_fitting(get_task(policy.task), policy, path), _deployed(policy), sha256(path), args.episodes, noise, tag)
        for path, policy in found
        if policy.task in wanted
    ]


def _specs(args: Collect) -> list[TaskSpec]:
    from pwm.tasks.registry import get_task, task_set

    if bool(args.tasks) == bool(args.task_set):
        raise PWMError("name the tasks to play with --tasks, or a set of them with --task-set")
    return list(task_set(args.task_set)) if args.task_set else [get_task(id) for id in dict.fromkeys(args.tasks)]


def _policies(path: Path, device: str) -> list[tuple[Path, DeployedPolicy]]:
    from pwm.acting.policy_file import find_policies, load_policy
    from pwm.runtime.device import resolve_device

    if not path.exists():
        raise PWMError(f"--policy {path}: not random, not scripted, and no such file or run folder; check it")
    files = find_policies(path) if path.is_dir() else [path]
    return [(file, load_policy(file, resolve_device(device))) for file in files]


def _fitting(spec: TaskSpec, policy: DeployedPolicy, path: Path) -> TaskSpec:
    sizes = (policy.observation_dim, policy.action_dim)
    if sizes != (spec.observation_dim, spec.action_dim):
        own = (spec.observation_dim, spec.action_dim)
        raise PWMError(f"{path}: is for {spec.id} of sizes {sizes}, the task here has {own}; learn it again")
    return spec


def _random(spec: TaskSpec) -> Callable[[Sequence[int]], Act]:
    from pwm.acting.random_policy import RandomPolicy

    def start(seeds: Sequence[int]) -> Act:
        policy = RandomPolicy([spec], [seeds])
        return lambda observations: policy(observations[None])[0]

    return start


def _scripted(spec: TaskSpec) -> Callable[[Sequence[int]], Act]:
    from pwm.tasks.metaworld import scripted_policy

    act = scripted_policy(spec.id)
    return lambda seeds: lambda observations: np.stack([act(row) for row in observations])


def _deployed(policy: DeployedPolicy) -> Callable[[Sequence[int]], Act]:
    return lambda seeds: policy.act
