"""`pwm doctor`: checks what works on this machine, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pwm.cli.parse import parse
from pwm.pipeline.bench import Bench, bench
from pwm.runtime.ranges import Threads


@dataclass(frozen=True)
class Doctor:
    """Check in a few seconds what works on this machine, and how fast. Exits with code 1 if something needed fails."""

    task: str = "cup-catch"
    """Task whose simulator is checked."""
    threads: Threads | None = None
    """CPU threads; none means PyTorch's default."""
    bench: bool = False
    """Instead, estimate time and memory of training with the sizes below; takes about half a minute."""
    measured: Bench = Bench()


def main(arguments: Sequence[str]) -> int:
    args = parse(Doctor, "doctor", arguments)

    from pwm.runtime.config import machine, versions
    from pwm.runtime.device import keep_freed_memory, set_threads
    from pwm.runtime.version import __version__

    threads = set_threads(args.threads)
    if args.bench:
        keep_freed_memory()
        for line in bench(args.measured):
            print(line, flush=True)
        print("Reading data, checkpoints and measurements come on top; run.json keeps how far off an estimate was.")
        return 0
    print(f"pwm          {__version__}")
    for name, version in versions().items():
        print(f"{name:<12} {version}")
    print(f"{'machine':<12} {machine()}; {threads} threads in use")
    checks = {"devices": devices, "training": products, "data": data, "simulator": partial(simulator, args.task)}
    healthy = True
    for name, check in checks.items():
        try:
            print(f"{name:<12} {check()}")
        except Exception as error:  # finding out what is broken is the purpose
            healthy = False
            print(f"{name:<12} does not work: {' '.join(str(error).split()) or type(error).__name__}")
    print(f"{'kernels':<12} {compiled()}")
    print(f"{'rendering':<12} {rendering()}")
    print("all that is needed works" if healthy else "something needed does not work: see above")
    return 0 if healthy else 1


def devices() -> str:
    """The available devices."""
    import torch

    if not torch.cuda.is_available():
        return "cpu (no CUDA GPU found)"
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *(f"cuda:{i} {gpu.total_memory / 2**30:.0f} GiB" for i, gpu in enumerate(gpus))])


def products() -> str:
    """Rate of float32 matrix products, which dominate training."""
    import torch

    from pwm.runtime.device import resolve_device

    rates = []
    for name, size in (("cpu", 768), ("cuda", 8192)):
        if name == "cuda" and not torch.cuda.is_available():
            continue
        x = torch.randn(size, size, device=resolve_device(name))
        seconds = _seconds(lambda x=x: (x @ x)[0, 0].item())
        rates.append(f"{2e-9 * size**3 / seconds:,.0f} GFLOP/s on {name}")
    return f"matrix products of float32: {', '.join(rates)}"


def compiled() -> str:
    """Whether there are compiled kernels; everything works without them, at about half the speed."""
    from pwm.nn.native import why_not

    reason = why_not()
    return f"none, training on the CPU takes longer: {reason}" if reason else "compiled for this processor"


def data() -> str:
    """Whether the bundled dataset is intact."""
    from pwm.data.store import open_store, sample_store_path

    store = open_store(sample_store_path(), verify=True)
    return f"bundled sample is whole: {', '.join(store.tasks)}"


def simulator(task: str) -> str:
    """Whether a task's environment runs, and how fast."""
    import numpy as np

    from pwm.tasks.registry import get_task

    spec = get_task(task)
    env = spec.make()
    try:
        env.reset(seed=0)
        action = np.zeros(spec.action_dim, np.float32)
        steps = min(100, spec.episode_length)
        begin = time.perf_counter()
        for _ in range(steps):
            env.step(action)
        rate = steps / (time.perf_counter() - begin)
    finally:
        env.close()
    return f"{task}: {rate:,.0f} steps/s in one environment"


def rendering() -> str:
    """How rendering works, or why it does not; only films need it."""
    from pwm.tasks.rendering import probe_rendering

    found = probe_rendering()
    return f"works ({found.backend})" if found.backend else f"no films: {found.reason}"


def _seconds(work: Callable[[], object], at_least: float = 0.3) -> float:
    """Mean duration of one call, after one to warm up."""
    work()
    calls, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < at_least:
        work()
        calls += 1
    return elapsed / calls
