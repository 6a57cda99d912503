"""`pwm` in processes forked from one that has imported everything: starting one takes milliseconds, not seconds."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_LOADED = [f"pwm.pipeline.{step}" for step in ("pretrain", "learn", "evaluate", "online", "train", "finetune", "hub")]
_LOADED += [f"pwm.cli.{command}" for command in ("main", "pretrain", "learn", "evaluate", "online", "data_import")]
_LOADED += ["torch", "torch._dynamo", "torch.utils.tensorboard", "PIL.Image", "PIL._webp", "tyro", "rich.console"]
_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
_TASKS = """
from functools import partial
from pwm.tasks.registry import register_task
from pwm.tasks.spec import TaskSpec
from tests.toys import LENGTH, SIZES, ToyEnv
for task, (o, a) in SIZES.items():
    register_task(TaskSpec(task, o, a, LENGTH, 1, "return", partial(ToyEnv, o, a, LENGTH)))
"""


def start(
    arguments: Sequence[object], folder: Path, said: Path, die_at: int | None = None, memory: int | None = None
) -> BaseProcess:
    """Start `pwm ARGUMENTS` in `folder`, where the toy tasks are known, with stdout and stderr together in `said`.

    Args:
        die_at: the process kills itself as it begins to change a file below `folder` for the n-th time.
        memory: most bytes of address space besides those of what is imported.
    """
    multiprocessing.set_forkserver_preload([*_LOADED, __name__])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # of the server, at the first start
    try:
        words = [str(word) for word in arguments]
        process = multiprocessing.get_context("forkserver").Process(
            target=_run, args=(words, str(folder), str(said), die_at, memory)
        )
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


def changes_of(said: Path) -> int:
    """How many changes of files the command counted that said this."""
    return int(said.read_text().rpartition("changes: ")[2])


def _run(arguments: list[str], folder: str, said: str, die_at: int | None, memory: int | None) -> None:
    os.chdir(folder)
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    tasks = Path(said).with_name("toy_tasks.py")
    if not tasks.exists():
        tasks.write_text(_TASKS)
    os.environ |= {"PWM_TASKS": str(tasks), "COLUMNS": "100"}
    if memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory,) * 2)
    changes = _count_changes(folder, die_at)
    from pwm.cli.main import main

    code = main(arguments)
    print(f"changes: {changes[0]}", flush=True)
    sys.exit(code)


def _count_changes(folder: str, die_at: int | None) -> list[int]:
    """Count, in a list of one number, how often this process changes a file or folder below `folder`."""
    count, below = [0], os.path.join(os.path.realpath(folder), "")

    def hook(event: str, args: tuple) -> None:
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event in _WRITES) and isinstance(args[0], (str, os.PathLike)):
            if os.path.realpath(args[0]).startswith(below):
                count[0] += 1
                if count[0] == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count
