"""Settings of the planner, without importing PyTorch, so that `pwm plan --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from pwm.runtime.config import require


@dataclass(frozen=True)
class PlanConfig:
    """TD-MPC2's settings."""

    horizon: int = 3
    """Steps of a plan."""
    samples: int = 512
    """Action sequences evaluated in every iteration, including the policy's."""
    policy_samples: int = 24
    """How many of them are drawn from the policy."""
    elites: int = 64
    """How many of the best sequences the next Gaussian is fitted to."""
    iterations: int = 6
    """Refinements of the Gaussian."""
    temperature: float = 0.5
    """Elites are weighted in proportion to exp(temperature * value)."""
    min_std: float = 0.05
    """Lower bound on the Gaussian's standard deviation."""
    max_std: float = 2.0
    """Upper bound on the Gaussian's standard deviation, and its initial value."""

    def __post_init__(self) -> None:
        for name in ("horizon", "samples", "elites", "iterations"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.policy_samples <= self.samples, "policy_samples", self.policy_samples, "from 0 to samples")
        require(self.elites <= self.samples, "elites", self.elites, "at most samples")
        require(0 < self.min_std <= self.max_std, "min_std", self.min_std, "above 0 and at most max_std")
