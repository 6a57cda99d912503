"""Toy tasks, a store of them, and `pwm` as a function."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwm.cli.main import main
from pwm.tasks import registry
from tests.commands import FAST, Outcome
from tests.stores import random_store
from tests.toys import LENGTH, SIZES, toy_task

registry.list_tasks()  # so that no test loads the tasks into a table that it has replaced


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """Registers the toy tasks for the time of one test, and makes its folder the current one."""
    specs = {task: toy_task(task, o, a, LENGTH) for task, (o, a) in SIZES.items()}
    monkeypatch.setattr(registry, "_tasks", registry._tasks | specs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def store(tmp_path) -> Path:
    """The folder of a store of the toy tasks."""
    return random_store(tmp_path / "store", SIZES, [LENGTH] * 12, action_repeat=1).path


@pytest.fixture
def pwm(capsys, toys):
    """`pwm("learn", "--help")` -> exit code, stdout, stderr."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def pretrain(pwm, store):
    """`pwm pretrain` of a tiny model, into a run folder that it returns."""

    def run(out: Path | str = "run", *more: object, data: Path = store) -> Path:
        outcome = pwm("pretrain", "--data", data, "--out", out, "--size", "tiny", *FAST, *more)
        assert (outcome.code, outcome.err) == (0, "")
        return Path(out)

    return run
