"""Settings of SHAC, and the preset of each task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pwm.runtime.config import require


@dataclass(frozen=True)
class ShacConfig:
    """Short-horizon actor-critic (Xu et al., "Accelerated policy learning with parallel differentiable simulation")."""

    updates: int = 1000
    """Actor updates; each takes `horizon` steps in every environment. The step sizes decay over this number."""
    num_envs: int = 64
    """Parallel environments (paper, Appendix D)."""
    horizon: int = 32
    """Environment steps that the actor's gradient flows through."""
    gamma: float = 0.99
    """Discount per step."""
    td_lambda: float = 0.95
    """Lambda of the critic's targets."""

    actor_units: tuple[int, ...] = (128, 64, 32)
    """Hidden layers of the actor."""
    critic_units: tuple[int, ...] = (64, 64)
    """Hidden layers of the critic."""
    activation: Literal["elu", "mish"] = "elu"
    """Nonlinearity of actor and critic; a LayerNorm follows each."""
    initial_log_std: float = -1.0
    """Initial log standard deviation of the actor's noise; one free number per action."""
    actor_output_gain: float = 0.01
    """Gain of the orthogonal initialisation of the actor's last layer; small, so that actions start near zero."""
    normalise_observations: bool = True
    """Normalise observations by mean and standard deviation of all seen so far, fixed during an update."""

    actor_learning_rate: float = 2e-3
    """Adam's step size for the actor at the start."""
    critic_learning_rate: float = 2e-3
    """Adam's step size for the critic at the start."""
    final_learning_rate: float = 1e-5
    """Both step sizes at the end of their linear decay."""
    betas: tuple[float, float] = (0.7, 0.95)
    """Adam's decay rates."""
    actor_grad_norm: float = 1.0
    """Gradient norm bound of the actor."""
    critic_grad_norm: float = 1.0
    """Gradient norm bound of the critic."""
    critic_passes: int = 16
    """Passes of the critic over a rollout's states per update."""
    critic_splits: int = 4
    """Mini-batches per pass."""
    critic_average: float = 0.2
    """Decay, per update, of the target critic, an average for targets and bootstraps; 0 uses the critic itself."""

    checkpoint_every: int = 50
    """Updates between two checkpoints, from which the same command resumes."""
    log_every: int = 5
    """Updates between two lines of metrics."""

    def __post_init__(self) -> None:
        for name in ("updates", "num_envs", "horizon", "critic_splits", "checkpoint_every", "log_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.critic_passes >= 0, "critic_passes", self.critic_passes, "at least 0")
        for name in ("gamma", "td_lambda"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        require(0 <= self.critic_average < 1, "critic_average", self.critic_average, "at least 0 and below 1")
        for name in ("actor_learning_rate", "critic_learning_rate", "actor_grad_norm", "critic_grad_norm"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update, over all environments."""
        return self.num_envs * self.horizon


_DEFAULT = ShacConfig()
SHAC_PRESETS: dict[str, ShacConfig] = {
    "ant": _DEFAULT,
    "hopper": replace(_DEFAULT, updates=800, critic_learning_rate=2e-4),
}
"""Settings by task; other tasks use the defaults."""


def shac_preset(task: str) -> ShacConfig:
    """The default settings of a task."""
    return SHAC_PRESETS.get(task, _DEFAULT)
