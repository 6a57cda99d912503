"""`pwm.train` and `pwm train`: trains baselines in a task's simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch

from pwm.agents.sb3.config import PPOConfig, SACConfig
from pwm.agents.shac.config import ShacConfig, shac_preset
from pwm.pipeline.facts import task_files
from pwm.runtime.device import resolve_device
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.run_folder import record_step, refuse_changes
from pwm.runtime.stopwatch import Stopwatch
from pwm.tasks.environment_config import EnvironmentConfig
from pwm.tasks.registry import get_task

ALGORITHMS = {ShacConfig: "shac", PPOConfig: "ppo", SACConfig: "sac"}
FREE = ("checkpoint_every", "log_every")
"""Settings that a resumed run may change."""


@alone("out")
def train(
    task: str,
    out: PathLike,
    config: ShacConfig | PPOConfig | SACConfig | str = "shac",
    seeds: Sequence[int] = (0,),
    simulator: EnvironmentConfig | None = None,
    device: torch.device | str = "cpu",
    *,
    time_budget: float | None = None,
    save_replay: PathLike | None = None,
    command: str | None = None,
    clock: Stopwatch | None = None,
) -> None:
    """Train one policy per seed, one after the other, in the run folder `out`. The same call again resumes.

    Args:
        config: the settings, whose type determines the algorithm; or "shac", "ppo" or "sac" for its defaults (SHAC's
            depend on the task).
        time_budget: minutes per policy.
        save_replay: episode store to write with all episodes played; for SHAC with one seed.
        command: repeats the training, for run.json.

    Raises:
        PWMError: as the algorithm does, or `out` holds a run with other settings, or a package is missing.
    """
    if isinstance(config, str):
        named = {"shac": shac_preset(task), "ppo": PPOConfig(), "sac": SACConfig()}
        if config not in named:
            raise PWMError(f"{config}: no such algorithm; choose one of {', '.join(named)}")
        config = named[config]
    if save_replay is not None and len(seeds) > 1:
        raise PWMError("--save-replay: one store holds the replay of one training; leave out --seeds")
    if not seeds:
        raise PWMError("seeds: is empty; name at least one")
    device = resolve_device(device) if isinstance(device, str) else device
    algorithm, simulator = ALGORITHMS[type(config)], simulator or EnvironmentConfig()
    train_one = _trainer(algorithm, task)
    settings = {"train": {"algorithm": algorithm, "task": task}, "simulator": simulator}
    settings[algorithm] = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in FREE}
    spec = get_task(task)
    settings |= task_files([spec])
    refuse_changes(out, settings)
    packages = (*spec.packages, *(() if algorithm == "shac" else ("stable-baselines3",)))
    facts: dict[str, Any] = {"command": command, "seed": seeds[0], "tasks": [spec.as_dict()], "packages": packages}
    record_step(out, "train", settings, **facts)
    more = {} if save_replay is None else {"save_replay": save_replay}
    with (clock or Stopwatch(out)).stage("train"):
        for seed in seeds:
            train_one(task, out, config, seed, simulator, device, time_budget=time_budget, **more)


def _trainer(algorithm: str, task: str) -> Callable[..., Any]:
    """The function that trains one policy."""
    if algorithm == "shac":
        from pwm.agents.shac.train import train_shac

        return train_shac
    try:
        import stable_baselines3  # noqa: F401
    except ImportError as error:
        raise PWMError(f"--algo {algorithm}: needs Stable-Baselines3; pip install 'pwm[baselines]'") from error

    from pwm.agents.sb3.train import train_sb3
    from pwm.tasks.vector import is_differentiable

    return partial(train_sb3, differentiable=is_differentiable(task))
