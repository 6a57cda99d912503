"""`pwm data collect`: plays episodes in simulators and writes them to an episode store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pwm.cli.parse import counted, parse
from pwm.runtime.errors import PWMError

if TYPE_CHECKING:
    from pwm.tasks.spec import TaskSpec
from pwm.runtime.ranges import Episodes, Range, Seed, Threads, Workers


@dataclass(frozen=True)
class Collect:
    """Play episodes in simulators and write them to a new episode store.

    --noise and --quality can list several levels, each of which is played for --episodes episodes of every task: for
    example --noise 0 0.3 1 --quality expert medium poor for data of three qualities. The manifest records policy,
    noise, seeds and versions."""

    out: Path
    """Folder of the new episode store."""
    policy: str = "random"
    """random; scripted (Meta-World's policies, tasks mw-...); a policy file; or a run folder, for all its policies."""
    tasks: tuple[str, ...] = ()
    """Tasks to play; none means those of the policy file or run."""
    task_set: str | None = None
    """Instead of --tasks: a task set such as mt30 or metaworld-50."""
    episodes: Episodes = 10
    """Episodes per task, policy and noise level."""
    noise: tuple[Annotated[float, Range(0, 100)], ...] = (0.0,)
    """Standard deviation of the normal noise added to actions, before clipping to [-1, 1]."""
    quality: tuple[str, ...] = ()
    """Quality tag for each noise level, or one for all; none leaves episodes untagged."""
    seed: Seed = 0
    """Seed from which the episodes' seeds are derived."""
    device: str = "cpu"
    """Device for policy files: auto, cpu, cuda or cuda:N."""
    workers: Workers | None = None
    """Processes that step the environments, including this one; 0 and 1 start no other. None uses all cores if there is
    enough to do. The episodes do not depend on it."""
    threads: Threads | None = None
    """CPU threads; none means PyTorch's default."""


def collect(arguments: Sequence[str]) -> int:
    args = parse(Collect, "data collect", arguments)

    from pwm.acting import collect as collecting
    from pwm.acting.parts import parts_of
    from pwm.runtime.device import set_threads

    set_threads(args.threads)
    tags = args.quality or (None,)
    tags = tags * len(args.noise) if len(tags) == 1 else tags
    if not args.noise or len(tags) != len(args.noise):
        raise PWMError(f"--quality names {len(tags)} tags for {len(args.noise)} levels of --noise; need one or as many")
    levels = list(zip(args.noise, tags))
    parts = parts_of(args.policy, _specs(args), args.episodes, levels, args.device)
    collecting.collect(args.out, parts, args.seed, args.workers)
    count, tasks = sum(part.episodes for part in parts), len({part.spec.id for part in parts})
    print(f"{counted(count, 'episode')} of {counted(tasks, 'task')} in {args.out}. Next: pwm data inspect {args.out}")
    return 0


def _specs(args: Collect) -> list[TaskSpec]:
    """The tasks to play; empty for those of policy files."""
    from pwm.tasks.registry import get_task, task_set

    if not args.tasks and not args.task_set and args.policy not in ("random", "scripted"):
        return []
    if bool(args.tasks) == bool(args.task_set):
        raise PWMError("name the tasks to play with --tasks, or a set of them with --task-set")
    return list(task_set(args.task_set)) if args.task_set else [get_task(id) for id in dict.fromkeys(args.tasks)]
