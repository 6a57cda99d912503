"""The training loop: when it logs and saves, what it never overwrites, what a resumed run drops, when time is up."""

import itertools

import pytest
import torch

from pwm.learning import budget, loop
from pwm.learning.budget import Budget
from pwm.learning.loop import train
from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import MetricsLog, read_metrics

FAILURE = "{task}/{seed}: {name} is {number} at update {step}{kept}"


class Counter:
    """Counts its updates and writes the count; `values(update)` are its metrics."""

    def __init__(self, values=lambda k: {"loss": torch.tensor(float(k))}, updates=0):
        self.values, self.updates, self.saved = values, updates, []

    def update(self):
        self.updates += 1
        return self.values(self.updates)

    def save(self, path):
        self.saved.append(self.updates)
        path.write_text(str(self.updates))


def run(learner, folder, updates=10, log_every=4, checkpoint_every=3, **options):
    train(
        learner,
        updates,
        folder / "checkpoint",
        folder,
        "test",
        "Test",
        log_every=log_every,
        checkpoint_every=checkpoint_every,
        failure=FAILURE,
        **options,
    )
    return [line["step"] for line in read_metrics(folder)]


@pytest.mark.parametrize(
    ("updates", "log_every", "checkpoint_every", "start", "logged", "saved"),
    [
        (10, 4, 3, 0, [4, 8, 10], [3, 6, 9, 10]),
        (9, 3, 3, 0, [3, 6, 9], [3, 6, 9]),  # the last one is due anyway: once
        (10, 4, 3, 6, [8, 10], [9, 10]),
        (5, 100, 100, 0, [5], [5]),
        (5, 1, 1, 5, [], []),
        (0, 1, 1, 0, [], []),
    ],
)
def test_when_it_logs_and_saves(tmp_path, updates, log_every, checkpoint_every, start, logged, saved):
    learner = Counter(updates=start)
    assert run(learner, tmp_path, updates, log_every, checkpoint_every) == logged
    assert learner.saved == saved and learner.updates == max(updates, start)


def test_metrics_are_read_only_where_they_are_logged_or_saved(tmp_path):
    """On the meta device a number cannot be read."""

    def values(k):
        return {"loss": torch.zeros((), device="cpu" if k in (3, 4, 6, 8, 9, 10) else "meta")}

    assert run(Counter(values), tmp_path) == [4, 8, 10]
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        run(Counter(values), tmp_path / "more", checkpoint_every=5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("log_every", "checkpoint_every"), [(6, 4), (100, 6)])  # found by a line, and by a checkpoint
def test_a_number_that_is_not_finite_keeps_the_last_checkpoint(tmp_path, value, log_every, checkpoint_every):
    checkpoint = tmp_path / "checkpoint"

    def values(k):
        return {"loss": torch.ones(2), "norm": torch.tensor([1.0, value if k == 6 else 1.0])}

    checkpoint.write_text("earlier")
    members = [("walk", 0), ("run", 7)]
    learner = Counter(values)
    with pytest.raises(PWMError) as caught:
        run(learner, tmp_path, 10, log_every, checkpoint_every, members=members)
    assert str(caught.value) == f"run/7: norm is {value} at update 6; {checkpoint} is of an update before it"
    assert checkpoint.read_text() == ("4" if checkpoint_every == 4 else "earlier")
    assert learner.updates == 6 and read_metrics(tmp_path) == []
    checkpoint.unlink()
    with pytest.raises(PWMError, match="at update 6$"):
        run(Counter(values), tmp_path, 10, 6, 100, members=members)
    run(Counter(values), tmp_path, 10, 6, 6, members=members, checked=("loss",))  # a metric that may be anything
    assert checkpoint.read_text() == "10"


def test_lines_hold_what_is_measured_of_each_member(tmp_path, monkeypatch):
    shown, calls = [], []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def advance(self, steps, **values):
            shown.append((steps, values))

    def progress(*args):
        assert args == ("Test", 4, 1, ())
        return Bar()

    def measure(numbers):
        calls.append(numbers)
        return numbers | {"double": 2 * numbers["loss"]}

    monkeypatch.setattr(loop, "progress", progress)
    learner = Counter(lambda k: {"loss": torch.tensor([k, k + 1.0], dtype=torch.float64)}, updates=1)
    members = [("walk", 0), ("run", 7)]
    extra = {"measure": measure, "shown": ("double", "absent"), "members": members, "steps_per_update": 50}
    run(learner, tmp_path, 4, 2, 3, **extra)
    assert calls == [{"loss": 2.0}, {"loss": 3.0}, {"loss": 4.0}, {"loss": 5.0}]  # not at 3, where it only saves
    lines = [{k: v for k, v in line.items() if k != "wall_seconds"} for line in read_metrics(tmp_path)]
    assert lines == [
        {"phase": "test", "step": 50 * k, "task": task, "seed": seed, "loss": loss, "double": 2 * loss}
        for k in (2, 4)
        for (task, seed), loss in zip(members, (k, k + 1.0))
    ]
    assert shown == [(1, {"double": 5.0}), (1, {}), (1, {"double": 9.0})]


def test_a_resumed_run_drops_its_own_later_lines(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as log:
        for phase, step, seed in [("test", 300, 0), ("test", 400, 0), ("test", 400, 1), ("other", 400, 0)]:
            log.write(phase, step, {"old": 1.0}, "walk", seed)
    run(Counter(updates=3), tmp_path, 4, 1, 9, members=[("walk", 0)], steps_per_update=100)
    lines = [(line["phase"], line["step"], line["seed"], "old" in line) for line in read_metrics(tmp_path)]
    kept = [("test", 300, 0, True), ("test", 400, 1, True), ("other", 400, 0, True)]
    assert lines == [*kept, ("test", 400, 0, False)]


def test_a_spent_budget_stops_at_a_checkpoint(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(budget, "perf_counter", lambda: float(next(ticks)))  # a look at the clock takes a second
    learner = Counter()
    assert run(learner, tmp_path, 100, 4, 3, budget=Budget(7 / 60)) == [4]  # looks before and after each update
    assert learner.saved == [3, 6]
    assert run(learner, tmp_path, 100, 4, 3, budget=Budget(1 / 60, {"train_seconds": 9.0})) == [4]
    assert learner.updates == 6 and learner.saved == [3, 6]  # nothing left to spend
    learner = Counter()
    run(learner, tmp_path, 100, 4, 30, budget=Budget(6 / 60))
    assert learner.saved == [5]  # saved where it stops, though no checkpoint is due
