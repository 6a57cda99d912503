"""Settings of the planner; they import no PyTorch, so that `pwm plan --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from pwm.runtime.config import require


@dataclass(frozen=True)
class PlanConfig:
    """TD-MPC2's settings."""

    horizon: int = 3
    """Steps of a plan."""
    samples: int = 512
    """Sequences valued in every iteration, the policy's among them."""
    policy_samples: int = 24
    """How many of them are the policy's own."""
    elites: int = 64
    """The best of them, which make the next Gaussian."""
    iterations: int = 6
    """Refinements of the Gaussian."""
    temperature: float = 0.5
    """How much better elites weigh more: in proportion to exp(temperature * value)."""
    min_std: float = 0.05
    """Bounds on the Gaussian's deviation, which starts at the larger one."""
    max_std: float = 2.0
    """See `min_std`."""

    def __post_init__(self) -> None:
        for name in ("horizon", "samples", "elites", "iterations"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.policy_samples <= self.samples, "policy_samples", self.policy_samples, "from 0 to samples")
        require(self.elites <= self.samples, "elites", self.elites, "at most samples")
        require(0 < self.min_std <= self.max_std, "min_std", self.min_std, "above 0 and at most max_std")
