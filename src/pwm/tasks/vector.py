"""Vector environments: the protocol of all of them, and the differentiable ones of the locomotion tasks."""

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
    """n environments of one task that step together; an episode that ends is followed by the next within the same step.

    Row i's k-th episode is a function of the seed, i, k and the actions in it alone. Simulators differ in what they can
    save, so the state of an environment cannot be taken out or put back in general: what resumes starts new episodes.
    """

    num_envs: int
    observation_dim: int
    action_dim: int
    episode_length: int
    device: torch.device

    def reset(self, seed: int | Sequence[int] | None = None) -> Tensor:
        """Start the next episode of every row; observations [n, o].

        With a seed, all rows start anew. With one per row, row i starts the episode of a single environment (of
        `TaskSpec.make`) that is reset with seed[i].
        """
        ...

    def step(self, actions: Tensor) -> Step:
        """One step with actions [n, a]; outside [-1, 1] they count as the bound."""
        ...


@runtime_checkable
class DifferentiableEnvironment(VectorEnvironment, Protocol):
    """Environments that gradients flow through, and whose state can be saved."""

    def detach(self) -> Tensor:
        """Cut the graph and keep the state; the current observations [n, o]."""
        ...

    def get_state(self) -> dict[str, Tensor]:
        """Everything that continuing to the same bits needs."""
        ...

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `get_state` took out."""
        ...


def make_environment(
    task: str | TaskSpec,
    num_envs: int,
    seed: int = 0,
    config: EnvironmentConfig | None = None,
    device: torch.device | str = "cpu",
) -> DifferentiableEnvironment:
    """Environments of a locomotion task that gradients flow through.

    Raises:
        PWMError: the task is not known or has no differentiable simulator, or the extra packages are missing.
    """
    spec = get_task(task) if isinstance(task, str) else task
    if not isinstance(spec.make, LocomotionMaker):
        known = ", ".join(name for name in list_tasks() if is_differentiable(name))
        raise PWMError(f"no gradients flow through the simulator of the task {spec.id}; they do for {known}")
    return spec.make.many(num_envs, seed=seed, device=device, **(config or EnvironmentConfig()).given())


def in_simulator(spec: TaskSpec, config: EnvironmentConfig) -> TaskSpec:
    """The task in a simulator of these settings. Raises PWMError where it has no such settings."""
    settings = config.given()
    if not settings:
        return spec
    if not isinstance(spec.make, LocomotionMaker):
        raise PWMError(f"{spec.id}: its simulator has no settings {' and '.join(settings)}; evaluate it as registered")
    return replace(spec, make=replace(spec.make, settings=settings))


def is_differentiable(task: str) -> bool:
    """Whether `make_environment` can make the task. Raises PWMError for one that is not known."""
    return isinstance(get_task(task).make, LocomotionMaker)
