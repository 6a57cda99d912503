"""Trains a SHAC policy in a run folder: checkpoints, metrics, the deployed policy, and its episodes as data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pwm.acting.policy_file import check_free, policy_path
from pwm.acting.replay import ReplayRecorder, has_store
from pwm.agents.perceptron_policy import KIND, BaselinePolicy
from pwm.agents.shac.config import ShacConfig
from pwm.agents.shac.learner import ShacLearner
from pwm.learning.budget import Budget
from pwm.learning.loop import train
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.tasks.environment_config import EnvironmentConfig
from pwm.tasks.vector import DifferentiableEnvironment, make_environment

PHASE = "train"


def train_shac(
    task: str,
    out: PathLike,
    config: ShacConfig,
    seed: int = 0,
    simulator: EnvironmentConfig | None = None,
    device: torch.device | str = "cpu",
    *,
    time_budget: float | None = None,
    save_replay: PathLike | None = None,
    make: Callable[..., DifferentiableEnvironment] = make_environment,
) -> BaselinePolicy:
    """Train SHAC on `task` in the run folder `out`.

    Writes `policies/<task>/seed<k>.safetensors` and `policies/shac-<task>-seed<k>.safetensors` (to resume from) at
    every checkpoint, and lines of phase "train" to `metrics.jsonl`, whose steps are environment steps. The same call
    resumes, or returns the finished policy.

    Args:
        time_budget: minutes of training over all calls, after which it stops at a checkpoint; a later call with a
            larger budget continues. Step sizes decay over `config.updates`, whatever the budget.
        save_replay: folder of an episode store to write after the last update, with all episodes played.
        make: `make(task, num_envs, seed, simulator, device)` builds the environment.

    Raises:
        PWMError: the task has no differentiable simulator, the run has other settings, or a number is not finite.
    """
    simulator = simulator or EnvironmentConfig()
    files = (policy_path(out, task, seed), shac_checkpoint(out, task, seed))
    environment = make(task, config.num_envs, seed, simulator, device)
    learner = ShacLearner(environment, task, seed, config, device, to_dict(simulator))
    before = None
    if files[1].exists():
        before = learner.load(files[1])
    else:
        check_free(files[:1])
    budget = Budget(time_budget, before)
    recorder = _recorder(learner, out, save_replay)
    training = _Training(learner, recorder, budget, files[0])
    train(
        training,
        config.updates,
        files[1],
        out,
        PHASE,
        f"SHAC {task} seed {seed}",
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        failure="{name} is not a finite number at update {step}; lower the learning rates",
        checked=("critic_loss",),
        members=[(task, seed)],
        measure=training.measure,
        shown=("return", "episode_length", "reward"),
        steps_per_update=config.steps_per_update,
        budget=budget,
    )
    if recorder is not None and save_replay is not None and learner.updates == config.updates:
        source = f"every training episode of SHAC, seed {seed}, {config.updates} updates"
        count = recorder.write_store(save_replay, task, environment.episode_length, source, config.updates)
        print(f"Replay: {count:,} episodes in {save_replay}")
    policy = export_shac(learner)
    policy.save(files[0])
    return policy


def shac_checkpoint(out: PathLike, task: str, seed: int) -> Path:
    """Path of SHAC's training state in a run folder."""
    return Path(out) / "policies" / f"shac-{task}-seed{seed}.safetensors"


def export_shac(learner: ShacLearner) -> BaselinePolicy:
    """The learner's current policy, with fixed observation moments; it acts by its mean."""
    config, environment = learner.config, learner.environment
    about = {"kind": KIND, "algorithm": "shac", "task": learner.task, "seed": learner.seed}
    about |= {"observation_dim": environment.observation_dim, "action_dim": environment.action_dim}
    about |= {"hidden": list(config.actor_units), "activation": config.activation, "layer_norm": True}
    about |= {"squash": "tanh", "config": to_dict(config), "simulator": learner.about["simulator"]}
    about |= {"updates": learner.updates, "environment_steps": learner.updates * config.steps_per_update}
    policy = BaselinePolicy(about)
    policy.net.load_state_dict(learner.actor.net.state_dict())
    mean, std = learner.normaliser.moments()
    policy.mean.copy_(mean)
    policy.std.copy_(std)
    return policy


def _recorder(learner: ShacLearner, out: PathLike, store: PathLike | None) -> ReplayRecorder | None:
    """The replay recorder, if the store is wanted and not written yet."""
    if store is None or (learner.updates == learner.config.updates and has_store(store)):
        return None
    if has_store(store):
        raise PWMError(f"--save-replay {store}: already holds an episode store; choose another path")
    folder = Path(out) / "replay" / f"{learner.task}-seed{learner.seed}"
    return ReplayRecorder(folder, learner.config.num_envs, learner.updates)


class _Training:
    """A learner that can record its rollouts, and that writes a policy file with every checkpoint."""

    def __init__(self, learner: ShacLearner, recorder: ReplayRecorder | None, budget: Budget, policy: Path) -> None:
        self.learner, self.recorder, self.budget, self.policy = learner, recorder, budget, policy

    @property
    def updates(self) -> int:
        return self.learner.updates

    def update(self) -> dict[str, Tensor]:
        rollout, values = self.learner.update()
        if self.recorder is not None:
            self.recorder.add(*rollout)
        return values

    def measure(self, numbers: dict[str, float]) -> dict[str, float]:
        """The metrics to log: those of the update, of episodes and of time."""
        numbers |= self.learner.episodes.values() | {"updates": float(self.updates)} | self.budget.used()
        return {name: value for name, value in numbers.items() if value == value}

    def save(self, path: PathLike) -> None:
        if self.recorder is not None:
            self.recorder.save(self.updates)
        self.learner.save(path, self.budget.used())
        if self.recorder is not None:
            self.recorder.forget(self.updates)
        export_shac(self.learner).save(self.policy)
