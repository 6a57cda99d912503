"""Toy tasks with simulators of their own, a store of them, and `pwm` as a function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from pwm.cli.main import main
from pwm.data.writer import StoreWriter
from pwm.tasks import registry
from pwm.tasks.spec import TaskSpec

SIZES = {"toy-a": (3, 2), "toy-b": (2, 1)}
LENGTH = 12
FAST = (
    "--batch-size 8 --horizon 3 --updates 6 --checkpoint-every 2 --evaluate-every 3 --encoder-units 16 --units 16 16"
).split()
FAST_POLICY = (
    "--batch-size 8 --horizon 3 --updates 6 --checkpoint-every 2 --log-every 2 --actor-units 8 --critic-units 8"
).split()


class ToyEnv(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 25.0}

    def __init__(self, observation_dim: int, action_dim: int, render_mode: str | None = None) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (action_dim,), np.float32)
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.state = 0, self.np_random.normal(size=self.observation_space.shape)
        return self.state.astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        self.state = 0.9 * self.state + 0.1 * action.mean()
        return self.state.astype(np.float32), float(self.state.mean()), False, self.steps >= LENGTH, {}

    def render(self):
        return np.full((24, 32, 3), 20 * self.steps, np.uint8)


def write_store(path: Path, sizes: dict[str, tuple[int, int]] = SIZES, shift: float = 0.0) -> Path:
    random = np.random.default_rng(0)
    with StoreWriter(path) as writer:
        for task, (o, a) in sizes.items():
            writer.add_task(task, o, a, episode_length=LENGTH, action_repeat=1)
            for _ in range(12):
                observations = random.normal(size=(LENGTH + 1, o)) + shift
                actions = random.uniform(-1, 1, size=(LENGTH, a))
                writer.add_episode(task, observations, actions, observations[1:].mean(axis=1))
    return path


@pytest.fixture(autouse=True)
def toys(monkeypatch, tmp_path):
    """Registers the toy tasks for the time of one test, and makes its folder the current one."""
    registry.list_tasks()
    specs = {}
    for task, (o, a) in SIZES.items():
        specs[task] = TaskSpec(task, o, a, LENGTH, 1, "return", lambda o=o, a=a, **more: ToyEnv(o, a, **more))
    monkeypatch.setattr(registry, "_tasks", registry._tasks | specs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def store(tmp_path) -> Path:
    return write_store(tmp_path / "store")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def pwm(capsys):
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


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    """Relative path -> bytes, of the files that match."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob(pattern))}
