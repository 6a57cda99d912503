"""Times a step of a run, and compares the time with an estimate made before; run.json keeps both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from pwm.runtime.errors import PWMError
from pwm.runtime.estimate import Estimate
from pwm.runtime.files import PathLike, write_json
from pwm.runtime.memory import free_bytes
from pwm.runtime.progress import clock as minutes
from pwm.runtime.run_folder import read_run_file, run_file
from pwm.runtime.stopwatch import Stopwatch

WORTH_IT = 1e12  # FLOP of matrix products below which a step takes seconds, as long as estimating it


@contextmanager
def timed_step(
    run: PathLike,
    step: str,
    watch: Stopwatch,
    flops: float,
    estimate: Callable[[], Estimate],
    device: torch.device | str,
    resumes: bool,
    cure: str,
) -> Iterator[None]:
    """Time the stage named by the first word of `step`, print an estimate before it, and compare both after it.

    There is no estimate when a step resumes or is short.

    Args:
        flops: of the whole step.
        cure: advice for the message if memory runs out.

    Raises:
        PWMError: memory runs out.
    """
    stage = step.split()[0]
    before = watch.seconds.get(stage, 0.0)
    with watch.stage(stage):
        if flops >= WORTH_IT and not resumes:
            expected = estimate()
            print(f"Expected: {expected}")
            if expected.peak_bytes > free_bytes(device):
                print(f"More than the {free_bytes(device) / 2**30:.1f} GiB that are free: {cure}")
            facts = {"estimated_seconds": round(expected.seconds, 1), "estimated_bytes": expected.peak_bytes}
            _record(run, step, **facts, measured=expected.measured, seconds_before=before)
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            # On a CPU, PyTorch's out-of-memory error has no class of its own.
            out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
            if not out_of_memory and "can't allocate memory" not in str(error):
                raise
            raise PWMError(f"memory ran out in {stage}; {cure}") from error
    entry = read_run_file(run).get("estimates", {}).get(step)
    if entry is not None:
        seconds = round(watch.seconds[stage] - entry["seconds_before"], 1)
        ratio = round(seconds / max(entry["estimated_seconds"], 0.1), 3)
        _record(run, step, seconds=seconds, ratio=ratio)
        print(f"Took {minutes(seconds)}, {ratio:.2f} times the estimate of {minutes(entry['estimated_seconds'])}")


def _record(run: PathLike, step: str, **facts: float | str) -> None:
    record = read_run_file(run)
    estimates = record.get("estimates", {})
    record["estimates"] = estimates | {step: estimates.get(step, {}) | facts}
    write_json(run_file(run), record)
