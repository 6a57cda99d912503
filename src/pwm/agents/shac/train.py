"""Training one SHAC policy in a run folder: checkpoints, metrics, the deployed policy, and its replay as data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pwm.acting.policy_file import check_free, policy_path
from pwm.acting.replay import ReplayRecorder, has_store
from pwm.agents.perceptron_policy import BaselinePolicy, describe_policy
from pwm.agents.shac.config import ShacConfig
from pwm.agents.shac.learner import ShacLearner
from pwm.agents.shac.rollout import SimulatedRollout
from pwm.learning.budget import Budget
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.metrics import MetricsLog
from pwm.runtime.progress import Progress, progress
from pwm.tasks.vector import DifferentiableEnvironment, EnvironmentConfig, check_finite, make_environment

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
    """Train SHAC on `task` and leave the policy in the run folder `out`.

    Writes `policies/<task>/seed<k>.safetensors` and `policies/shac-<task>-seed<k>.safetensors` (to resume from) at
    every checkpoint, and lines of phase "train" to `metrics.jsonl`, whose step counts environment steps. The same call
    resumes; a finished policy is returned at once.

    Args:
        time_budget: minutes of training over all calls, after which it stops at a checkpoint; a later call with more
            goes on. The step sizes follow `config.updates` whatever the budget.
        save_replay: an episode store is written there when the last update is done, of all episodes played.
        make: `make(task, num_envs, seed, simulator, device)` builds the environment.

    Raises:
        PWMError: the task has no differentiable simulator, the run holds other settings, a number is not finite.
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
    with MetricsLog(Path(out)) as log, progress(f"SHAC {task} seed {seed}", config.updates, learner.updates) as bar:
        log.truncate(PHASE, learner.updates * config.steps_per_update, [(task, seed)])
        while learner.updates < config.updates and not budget.spent():
            rollout, values = learner.update()
            if recorder is not None:
                _record(recorder, rollout)
            _tell(learner, values, budget, log, bar)
            last = learner.updates == config.updates or budget.spent()
            if last or learner.updates % config.checkpoint_every == 0:
                _keep(learner, recorder, budget, files)
    if recorder is not None and save_replay is not None and learner.updates == config.updates:
        source = f"every training episode of SHAC, seed {seed}, {config.updates} updates"
        count = recorder.write_store(save_replay, task, environment.episode_length, source, config.updates)
        print(f"Replay: {count:,} episodes in {save_replay}")
    policy = export_shac(learner)
    policy.save(files[0])
    return policy


def shac_checkpoint(out: PathLike, task: str, seed: int) -> Path:
    """Where a run folder keeps SHAC's training state."""
    return Path(out) / "policies" / f"shac-{task}-seed{seed}.safetensors"


def export_shac(learner: ShacLearner) -> BaselinePolicy:
    """The learner's policy as it is now, with the observation moments frozen; it acts by its mean."""
    config, environment = learner.config, learner.environment
    about = describe_policy(
        "shac",
        learner.task,
        learner.seed,
        (environment.observation_dim, environment.action_dim),
        config.actor_units,
        config.activation,
        layer_norm=True,
        squash="tanh",
        config=to_dict(config),
        simulator=learner.about["simulator"],
        updates=learner.updates,
        environment_steps=learner.updates * config.steps_per_update,
    )
    policy = BaselinePolicy(about)
    policy.net.load_state_dict(learner.actor.net.state_dict())
    mean, std = learner.normaliser.moments()
    policy.mean.copy_(mean)
    policy.std.copy_(std)
    return policy


def _recorder(learner: ShacLearner, out: PathLike, store: PathLike | None) -> ReplayRecorder | None:
    """Who records the replay, where one is wanted and not written yet."""
    if store is None or (learner.updates == learner.config.updates and has_store(store)):
        return None
    if has_store(store):
        raise PWMError(f"--save-replay {store}: already holds an episode store; choose another path")
    folder = Path(out) / "replay" / f"{learner.task}-seed{learner.seed}"
    return ReplayRecorder(folder, learner.config.num_envs, learner.updates)


def _record(recorder: ReplayRecorder, rollout: SimulatedRollout) -> None:
    recorder.add(
        rollout.observations,
        rollout.actions,
        rollout.rewards,
        rollout.final_observations,
        rollout.terminated,
        rollout.truncated,
    )


def _tell(learner: ShacLearner, values: dict[str, Tensor], budget: Budget, log: MetricsLog, bar: Progress) -> None:
    """Move the progress bar, and write a line of metrics where one is due."""
    config, step = learner.config, learner.updates
    if step % config.log_every == 0 or step == config.updates:
        numbers = {name: float(value) for name, value in values.items()}
        check_finite("critic_loss", numbers["critic_loss"], step)
        numbers |= learner.episodes.values() | {"updates": float(step)} | budget.used()
        numbers = {name: value for name, value in numbers.items() if value == value}
        log.write(PHASE, step * config.steps_per_update, numbers, learner.task, learner.seed)
        bar.advance(0, **{name: numbers[name] for name in ("return", "episode_length", "reward") if name in numbers})
    bar.advance(1)


def _keep(learner: ShacLearner, recorder: ReplayRecorder | None, budget: Budget, files: tuple[Path, Path]) -> None:
    """Write everything that a killed run goes on from, and the policy so far."""
    if recorder is not None:
        recorder.save(learner.updates)
    learner.save(files[1], budget.used())
    if recorder is not None:
        recorder.forget(learner.updates)
    export_shac(learner).save(files[0])
