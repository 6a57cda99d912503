"""Settings of the planner, without importing PyTorch, so that `pwm plan --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pwm.runtime.config import require
from pwm.runtime.ranges import Batch, Few, Positive, Range, Ranged


@dataclass(frozen=True)
class PlanConfig(Ranged):
    """TD-MPC2's settings."""

    horizon: Few = 3
    """Steps of a plan."""
    samples: Batch = 512
    """Action sequences evaluated in every iteration, including the policy's."""
    policy_samples: Annotated[int, Range(0, 10**6)] = 24
    """How many of them are drawn from the policy."""
    elites: Batch = 64
    """How many of the best sequences the next Gaussian is fitted to."""
    iterations: Few = 6
    """Refinements of the Gaussian."""
    temperature: Annotated[float, Range(0, 1000)] = 0.5
    """Elites are weighted in proportion to exp(temperature * value)."""
    min_std: Positive = 0.05
    """Lower bound on the Gaussian's standard deviation."""
    max_std: Positive = 2.0
    """Upper bound on the Gaussian's standard deviation, and its initial value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.policy_samples <= self.samples, "policy_samples", self.policy_samples, "at most samples")
        require(self.elites <= self.samples, "elites", self.elites, "at most samples")
        require(self.min_std <= self.max_std, "min_std", self.min_std, "at most max_std")
