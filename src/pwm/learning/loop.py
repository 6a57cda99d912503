"""The training loop of all learners: progress, metrics, and checkpoints, which are never written after divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from pwm.learning.budget import Budget
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.metrics import MetricsLog
from pwm.runtime.progress import Phase, progress


class Learner(Protocol):
    """What `train` can train."""

    @property
    def updates(self) -> int:
        """Number of updates so far, including those before resuming."""
        ...

    def update(self) -> Mapping[str, Tensor]:
        """One update; returns metrics by name, one number each or one per member, without syncing."""
        ...

    def save(self, path: PathLike) -> None:
        """Write everything that resuming needs, atomically."""
        ...


def train(
    learner: Learner,
    updates: int,
    checkpoint: Path,
    out: PathLike,
    phase: str,
    title: str,
    *,
    log_every: int,
    checkpoint_every: int,
    failure: str,
    checked: Collection[str] = (),
    members: Sequence[tuple[str | None, int | None]] | None = None,
    measure: Callable[[dict[str, float]], dict[str, float]] = dict,
    shown: Sequence[str] = (),
    steps_per_update: int = 1,
    budget: Budget | None = None,
    phases: Sequence[Phase] = (),
) -> None:
    """Update the learner until it has done `updates` updates or the budget is spent.

    Syncs with the device only when logging or saving.

    Args:
        checkpoint: file to which the learner is saved every `checkpoint_every` updates and at the end.
        out: folder of metrics.jsonl. Lines written after the checkpoint from which the learner resumed are dropped.
        phase: of the metrics, which are logged every `log_every` updates and at the last one.
        title: of the progress bar.
        failure: the message if a metric is not finite; may use {name}, {number}, {step}, {task}, {seed}, and {kept},
            which says where the last good checkpoint is.
        checked: metrics that must be finite; all by default.
        members: (task, seed) of each member, if metrics have one number per member.
        measure: maps a member's metrics to those that are logged; called only when logging.
        shown: logged metrics to show in the progress bar, averaged over the members.
        steps_per_update: how much the logged step advances per update.
        budget: time limit.
        phases: of the updates, for the progress bar, where they differ in speed.

    Raises:
        PWMError: a metric is not finite. The checkpoint, if there is one, is from an earlier update.
    """
    owners = members or [(None, None)]
    with MetricsLog(Path(out)) as log, progress(title, updates, learner.updates, phases) as bar:
        log.truncate(phase, learner.updates * steps_per_update, members)
        over = learner.updates >= updates or (budget is not None and budget.spent())
        while not over:
            values = learner.update()
            done, last = learner.updates, learner.updates >= updates
            over = last or (budget is not None and budget.spent())
            logs, saves = last or done % log_every == 0, over or done % checkpoint_every == 0
            means: dict[str, float] = {}
            if logs or saves:
                rows = {name: value.reshape(-1).tolist() for name, value in values.items()}
                _check_finite({name: rows[name] for name in checked or rows}, owners, done, failure, checkpoint)
            if logs:
                lines = [measure({name: row[k] for name, row in rows.items()}) for k in range(len(owners))]
                for line, owner in zip(lines, owners, strict=True):
                    log.write(phase, done * steps_per_update, line, *owner)
                means = {name: sum(x[name] for x in lines) / len(lines) for name in shown if name in lines[0]}
            bar.advance(1, **means)
            if saves:
                learner.save(checkpoint)


def _check_finite(
    rows: Mapping[str, Sequence[float]], owners: Sequence[tuple], step: int, failure: str, checkpoint: Path
) -> None:
    """Raise PWMError for the first number that is NaN or infinite."""
    for name, row in rows.items():
        for (task, seed), number in zip(owners, row, strict=True):
            if not math.isfinite(number):
                kept = f"; {checkpoint} is of an update before it" if checkpoint.exists() else ""
                raise PWMError(failure.format(name=name, number=number, step=step, task=task, seed=seed, kept=kept))
