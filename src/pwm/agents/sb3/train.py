"""Trains PPO or SAC in a run folder: checkpoints, metrics and the deployed policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from pwm.acting.policy_file import check_free, load_policy, policy_path
from pwm.agents.perceptron_policy import BaselinePolicy
from pwm.agents.sb3.config import PPOConfig, SACConfig
from pwm.agents.sb3.environments import TensorVecEnv, registered_task
from pwm.agents.sb3.models import build_model, export_policy
from pwm.agents.sb3.state import restore_training_state, training_state
from pwm.learning.budget import Budget
from pwm.runtime.checkpoint import check_same, described, read_described, write_described
from pwm.runtime.config import to_dict
from pwm.runtime.files import PathLike
from pwm.runtime.metrics import MetricsLog
from pwm.runtime.progress import Progress, progress
from pwm.tasks.environment_config import EnvironmentConfig
from pwm.tasks.vector import DifferentiableEnvironment, make_environment

PHASE = "train"
_FREE = ("checkpoint_every", "log_every")
_SECONDS, _SHARE = 120.0, 0.02
"""A checkpoint follows the one before after so many seconds, but takes at most this share of the time."""
_LOGGED = {
    "train/value_loss": "critic_loss",
    "train/critic_loss": "critic_loss",
    "train/policy_gradient_loss": "actor_loss",
    "train/actor_loss": "actor_loss",
    "train/std": "action_std",
    "train/ent_coef": "temperature",
    "train/approx_kl": "approximate_kl",
}


def train_sb3(
    task: str,
    out: PathLike,
    config: PPOConfig | SACConfig,
    seed: int = 0,
    simulator: EnvironmentConfig | None = None,
    device: torch.device | str = "cpu",
    *,
    time_budget: float | None = None,
    differentiable: bool = True,
    make: Callable[..., DifferentiableEnvironment] = make_environment,
) -> BaselinePolicy:
    """Train PPO or SAC (by the type of `config`) on `task` in the run folder `out`.

    Files, resuming and arguments are as in `train_shac`. A checkpoint holds plain tensors, including SAC's replay
    buffer. On locomotion tasks a resumed run ends with the same bits; environments of other tasks
    (`differentiable=False`: made from the registry) start new episodes.

    Raises:
        PWMError: the run has other settings, or the task is unknown.
    """
    simulator = simulator or EnvironmentConfig()
    files = (policy_path(out, task, seed), sb3_checkpoint(out, config, task, seed))
    about = {
        "kind": f"{algorithm_of(config)} checkpoint",
        "task": task,
        "seed": seed,
        algorithm_of(config): {name: value for name, value in to_dict(config).items() if name not in _FREE},
        "simulator": to_dict(simulator),
    }
    if differentiable:
        environments: Any = TensorVecEnv(make(task, config.num_envs, seed, simulator, device))
    else:
        environments = registered_task(task, config.num_envs, seed, config.steps)
    model, before = build_model(environments, config, seed, device), None
    if files[1].exists():
        tensors, found = read_described(files[1], about["kind"])
        check_same(files[1], found, about)
        with described(files[1]):
            restore_training_state(model, tensors, found["state"], files[1])
            before = found["progress"]
    else:
        check_free(files[:1])
    budget, done = Budget(time_budget, before), model.num_timesteps

    def save() -> None:
        tensors, values = training_state(model)
        write_described(files[1], tensors, about | {"state": values, "progress": budget.used()})
        export_policy(model, task, seed, config, to_dict(simulator)).save(files[0])

    title = f"{algorithm_of(config).upper()} {task} seed {seed}"
    with MetricsLog(Path(out)) as log, progress(title, config.steps, min(done, config.steps)) as bar:
        log.truncate(PHASE, done, [(task, seed)])
        if done < config.steps and not budget.spent():
            watch = _Watch(config, budget, log, bar, save, (task, seed))
            model.learn(config.steps - done, watch, log_interval=None, reset_num_timesteps=done == 0)
            if not watch.stopped:
                watch.tell()
                save()
    environments.close()
    if not files[0].exists():  # killed between the checkpoint and the policy
        export_policy(model, task, seed, config, to_dict(simulator)).save(files[0])
    return load_policy(files[0])  # type: ignore[return-value]


def algorithm_of(config: PPOConfig | SACConfig) -> str:
    """ "ppo" or "sac"."""
    return "ppo" if isinstance(config, PPOConfig) else "sac"


def sb3_checkpoint(out: PathLike, config: PPOConfig | SACConfig, task: str, seed: int) -> Path:
    """Path of the training state in a run folder."""
    return Path(out) / "policies" / f"{algorithm_of(config)}-{task}-seed{seed}.safetensors"


class _Watch(BaseCallback):
    """Logs, saves and stops between two iterations, when the model's state is consistent."""

    def __init__(
        self,
        config: PPOConfig | SACConfig,
        budget: Budget,
        log: MetricsLog,
        bar: Progress,
        save: Callable[[], None],
        member: tuple[str, int],
    ) -> None:
        super().__init__()
        self.config, self.budget, self.log, self.bar, self.save, self.member = config, budget, log, bar, save, member
        self.stopped = False
        self.saved = self.told = 0
        self.saved_at, self.pause = perf_counter(), _SECONDS

    def _on_training_start(self) -> None:
        self.saved = self.told = self.num_timesteps = self.model.num_timesteps

    def _on_rollout_start(self) -> None:
        steps = self.model.num_timesteps
        if steps - self.told >= self.config.log_every:
            self.tell()
        self.stopped = steps > self.saved and self.budget.spent()
        due = steps - self.saved >= self.config.checkpoint_every
        start = perf_counter()
        if self.stopped or due or (steps > self.saved and start - self.saved_at >= self.pause):
            self.save()
            self.saved, self.saved_at = steps, perf_counter()
            self.pause = max(_SECONDS, (self.saved_at - start) / _SHARE)  # a large replay buffer is slow to write

    def _on_step(self) -> bool:
        self.bar.advance(0 if self.stopped else self.config.num_envs)
        return not self.stopped

    def tell(self) -> None:
        """Log metrics and show them in the progress bar."""
        self.told = steps = self.model.num_timesteps
        logged = {_LOGGED[k]: float(v) for k, v in self.logger.name_to_value.items() if k in _LOGGED}
        statistics = self.model.get_vec_normalize_env().venv.statistics  # type: ignore[union-attr]
        numbers = statistics.values() | logged | {"updates": float(self.model._n_updates)} | self.budget.used()
        self.log.write(PHASE, steps, numbers, *self.member)
        self.bar.advance(0, **{name: numbers[name] for name in ("return", "episode_length") if name in numbers})
