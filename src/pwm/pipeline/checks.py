"""What the steps say about their data before they begin, see `pwm.data.preflight`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pwm.data.preflight import Assumptions, Finding, against_task, as_lines, preflight
from pwm.data.store import EpisodeStore
from pwm.world_model.config import PretrainConfig, WorldModelConfig
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import grid_of


def with_terminations(model: WorldModelConfig, config: PretrainConfig, store: EpisodeStore) -> WorldModelConfig:
    """The architecture with a termination head if episodes of the data terminate and the loss counts them."""
    wanted = config.termination_weight > 0 and any(bool(store[task].terminations.any()) for task in store.tasks)
    return replace(model, episodic=True) if wanted else model


def before_pretraining(store: EpisodeStore, model: WorldModelConfig, config: PretrainConfig) -> list[Finding]:
    """What does not fit in the data of a world model that is to be trained."""
    assumed = Assumptions(
        horizon=min((*config.short_horizons, config.horizon)),
        normalised=config.normalise_observations,
        terminations=model.episodic,
        grid=grid_of(model),
    )
    return preflight(store, assumed=assumed)


def before_learning(store: EpisodeStore, model: WorldModel, tasks: Sequence[str]) -> list[Finding]:
    """What does not fit in the data of policies that are to be learned in a world model."""
    scales = {task: float(model.reward_scale[model.index(task)]) for task in tasks}
    assumed = Assumptions(
        horizon=None,
        normalised=bool(model.observation_shift.any()),
        terminations=model.config.episodic,
        grid=grid_of(model.config),
        scales=scales,
    )
    return preflight(store, tasks, assumed)


def before_evaluation(tasks: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Where the data behind policies (the "tasks" of run.json) differ from the registered tasks that they act in."""
    return [finding for task in tasks for finding in against_task(task)]


def show(findings: Sequence[Finding]) -> list[Finding]:
    """Print them, and return them."""
    for line in as_lines(findings):
        print(line)
    return list(findings)
