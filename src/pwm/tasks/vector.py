"""The protocol of vector environments, and the differentiable ones of the locomotion tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pwm.runtime.errors import PWMError
from pwm.tasks.environment_config import EnvironmentConfig
from pwm.tasks.locomotion.family import LocomotionMaker
from pwm.tasks.registry import get_task, list_tasks
from pwm.tasks.spec import TaskSpec
from pwm.tasks.step import Step as Step


@runtime_checkable
class VectorEnvironment(Protocol):
    """n environments of one task that step together and reset themselves in the step in which an episode ends.

    Row i's k-th episode is a function of the seed, i, k and the actions in it. Not every simulator can save its state,
    so there is no general way to do so: after resuming, new episodes start.
    """

    num_envs: int
    observation_dim: int
    action_dim: int
    episode_length: int
    device: torch.device

    def reset(self, seed: int | Sequence[int] | None = None) -> Tensor:
        """Start the next episode of every row; observations [n, o].

        With a seed, all rows start over. With one seed per row, row i starts the same episode as a single environment
        (of `TaskSpec.make`) that is reset with seed[i].
        """

    def step(self, actions: Tensor) -> Step:
        """One step with actions [n, a], which are clipped to [-1, 1]."""


@runtime_checkable
class DifferentiableEnvironment(VectorEnvironment, Protocol):
    """A vector environment that is differentiable and whose state can be saved."""

    def detach(self) -> Tensor:
        """Detach the state from the graph; returns the current observations [n, o]."""

    def get_state(self) -> dict[str, Tensor]:
        """Everything that is needed to continue to the same bits."""

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `get_state` returned."""


def make_environment(
    task: str | TaskSpec,
    num_envs: int,
    seed: int = 0,
    config: EnvironmentConfig | None = None,
    device: torch.device | str = "cpu",
) -> DifferentiableEnvironment:
    """A differentiable vector environment of a locomotion task.

    Raises:
        PWMError: the task is unknown or not differentiable, or the extra packages are not installed.
    """
    spec = get_task(task) if isinstance(task, str) else task
    if not isinstance(spec.make, LocomotionMaker):
        known = ", ".join(name for name in list_tasks() if is_differentiable(name))
        raise PWMError(f"no gradients flow through the simulator of the task {spec.id}; they do for {known}")
    return spec.make.many(num_envs, seed=seed, device=device, **(config or EnvironmentConfig()).given())


def in_simulator(spec: TaskSpec, config: EnvironmentConfig) -> TaskSpec:
    """The task with these simulator settings. Raises PWMError if its simulator does not have them."""
    settings = config.given()
    if not settings:
        return spec
    if not isinstance(spec.make, LocomotionMaker):
        raise PWMError(f"{spec.id}: its simulator has no settings {' and '.join(settings)}; evaluate it as registered")
    return replace(spec, make=replace(spec.make, settings=settings))


def is_differentiable(task: str) -> bool:
    """Whether `make_environment` can make the task. Raises PWMError if the task is unknown."""
    return isinstance(get_task(task).make, LocomotionMaker)
