"""Settings of PPO and SAC. The paper gives the numbers of environments; the rest is common practice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pwm.runtime.config import require


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation (Schulman et al. 2017) of Stable-Baselines3."""

    steps: int = 20_000_000
    """Environment steps over all environments; the step size decays linearly to zero over them."""
    num_envs: int = 1024
    """Parallel environments (paper, Appendix D)."""
    horizon: int = 32
    """Steps of each environment per iteration."""
    passes: int = 5
    """Passes over an iteration's steps."""
    batch_size: int = 8192
    """Steps per gradient step."""
    learning_rate: float = 3e-4
    """Adam's step size at the start."""
    gamma: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Lambda of the advantage estimates."""
    clip_range: float = 0.2
    """Clipping range of the probability ratio."""
    value_weight: float = 0.5
    """Weight of the value loss."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    grad_norm: float = 1.0
    """Gradient norm bound."""
    initial_log_std: float = -1.0
    """Initial log standard deviation of the actor's noise."""
    units: tuple[int, ...] = (128, 64, 32)
    """Hidden layers of actor and critic, two separate networks."""
    activation: Literal["elu", "tanh", "relu"] = "elu"
    """Nonlinearity of both."""
    normalise_rewards: bool = True
    """Divide rewards by the running deviation of the discounted return."""

    checkpoint_every: int = 500_000
    """Environment steps between two checkpoints, from which the same command resumes."""
    log_every: int = 30_000
    """Environment steps between two lines of metrics."""

    def __post_init__(self) -> None:
        _check(self, ("steps", "num_envs", "horizon", "passes", "batch_size", "checkpoint_every", "log_every"))


@dataclass(frozen=True)
class SACConfig:
    """Soft actor-critic (Haarnoja et al. 2018) of Stable-Baselines3, with automatic temperature."""

    steps: int = 5_000_000
    """Environment steps over all environments."""
    num_envs: int = 64
    """Parallel environments (paper, Appendix D)."""
    gradient_steps: int = 8
    """Gradient steps per step of all environments."""
    batch_size: int = 512
    """Transitions per gradient step."""
    buffer_size: int = 1_000_000
    """Capacity of the replay buffer in transitions."""
    random_steps: int = 10_000
    """Environment steps of random actions at the start."""
    learning_rate: float = 3e-4
    """Adam's step size for actor, critics and temperature."""
    gamma: float = 0.99
    """Discount per step."""
    target_rate: float = 0.005
    """Rate of the target critics' soft update per gradient step."""
    units: tuple[int, ...] = (256, 256)
    """Hidden layers of actor and critics."""
    activation: Literal["elu", "tanh", "relu"] = "relu"
    """Nonlinearity of all of them."""
    normalise_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return."""

    checkpoint_every: int = 50_000
    """Environment steps between two checkpoints (minutes of training); each holds the whole replay buffer."""
    log_every: int = 10_000
    """Environment steps between two lines of metrics."""

    def __post_init__(self) -> None:
        _check(
            self, ("steps", "num_envs", "gradient_steps", "batch_size", "buffer_size", "checkpoint_every", "log_every")
        )
        require(self.buffer_size >= self.num_envs, "buffer_size", self.buffer_size, f"at least {self.num_envs}")


def _check(config: PPOConfig | SACConfig, counts: tuple[str, ...]) -> None:
    for name in counts:
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    require(0 <= config.gamma <= 1, "gamma", config.gamma, "from 0 to 1")
    require(config.learning_rate > 0, "learning_rate", config.learning_rate, "above 0")
