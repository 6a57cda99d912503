"""Settings of PPO and SAC. The paper gives the numbers of environments; the rest is common practice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pwm.runtime.config import require
from pwm.runtime.ranges import Batch, Few, Horizon, Layers, Period, Positive, Range, Ranged, Share, Steps, Weight


@dataclass(frozen=True)
class PPOConfig(Ranged):
    """Proximal policy optimisation (Schulman et al. 2017) of Stable-Baselines3."""

    steps: Period = 20_000_000
    """Environment steps over all environments; the step size decays linearly to zero over them."""
    num_envs: Batch = 1024
    """Parallel environments (paper, Appendix D)."""
    horizon: Horizon = 32
    """Steps of each environment per iteration."""
    passes: Few = 5
    """Passes over an iteration's steps."""
    batch_size: Batch = 8192
    """Steps per gradient step."""
    learning_rate: Positive = 3e-4
    """Adam's step size at the start."""
    gamma: Share = 0.99
    """Discount per step."""
    gae_lambda: Share = 0.95
    """Lambda of the advantage estimates."""
    clip_range: Positive = 0.2
    """Clipping range of the probability ratio."""
    value_weight: Weight = 0.5
    """Weight of the value loss."""
    entropy_weight: Weight = 0.0
    """Weight of the entropy bonus."""
    grad_norm: Positive = 1.0
    """Gradient norm bound."""
    initial_log_std: Annotated[float, Range(-20, 20)] = -1.0
    """Initial log standard deviation of the actor's noise."""
    units: Layers = (128, 64, 32)
    """Hidden layers of actor and critic, two separate networks."""
    activation: Literal["elu", "tanh", "relu"] = "elu"
    """Nonlinearity of both."""
    normalise_rewards: bool = True
    """Divide rewards by the running deviation of the discounted return."""

    checkpoint_every: Period = 500_000
    """Most steps between two checkpoints, from which the same command resumes; slow steps have them sooner."""
    log_every: Period = 30_000
    """Environment steps between two lines of metrics."""


@dataclass(frozen=True)
class SACConfig(Ranged):
    """Soft actor-critic (Haarnoja et al. 2018) of Stable-Baselines3, with automatic temperature."""

    steps: Period = 5_000_000
    """Environment steps over all environments."""
    num_envs: Batch = 64
    """Parallel environments (paper, Appendix D)."""
    gradient_steps: Batch = 8
    """Gradient steps per step of all environments."""
    batch_size: Batch = 512
    """Transitions per gradient step."""
    buffer_size: Annotated[int, Range(1, 10**9)] = 1_000_000
    """Capacity of the replay buffer in transitions."""
    random_steps: Steps = 10_000
    """Environment steps of random actions at the start."""
    learning_rate: Positive = 3e-4
    """Adam's step size for actor, critics and temperature."""
    gamma: Share = 0.99
    """Discount per step."""
    target_rate: Share = 0.005
    """Rate of the target critics' soft update per gradient step."""
    units: Layers = (256, 256)
    """Hidden layers of actor and critics."""
    activation: Literal["elu", "tanh", "relu"] = "relu"
    """Nonlinearity of all of them."""
    normalise_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return."""

    checkpoint_every: Period = 50_000
    """Most steps between two checkpoints, each with the whole replay buffer; slow steps have them sooner."""
    log_every: Period = 10_000
    """Environment steps between two lines of metrics."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.buffer_size >= self.num_envs, "buffer_size", self.buffer_size, f"at least {self.num_envs}")
