"""Settings of SHAC, and the preset of each task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pwm.runtime.ranges import Batch, Decay, Horizon, Layers, Period, Positive, Range, Ranged, Share, Weight


@dataclass(frozen=True)
class ShacConfig(Ranged):
    """Short-horizon actor-critic (Xu et al., "Accelerated policy learning with parallel differentiable simulation")."""

    updates: Period = 1000
    """Actor updates; each takes `horizon` steps in every environment. The step sizes decay over this number."""
    num_envs: Batch = 64
    """Parallel environments (paper, Appendix D)."""
    horizon: Horizon = 32
    """Environment steps that the actor's gradient flows through."""
    gamma: Share = 0.99
    """Discount per step."""
    td_lambda: Share = 0.95
    """Lambda of the critic's targets."""

    actor_units: Layers = (128, 64, 32)
    """Hidden layers of the actor."""
    critic_units: Layers = (64, 64)
    """Hidden layers of the critic."""
    activation: Literal["elu", "mish"] = "elu"
    """Nonlinearity of actor and critic; a LayerNorm follows each."""
    initial_log_std: Annotated[float, Range(-20, 20)] = -1.0
    """Initial log standard deviation of the actor's noise; one free number per action."""
    actor_output_gain: Weight = 0.01
    """Gain of the orthogonal initialisation of the actor's last layer; small, so that actions start near zero."""
    normalise_observations: bool = True
    """Normalise observations by mean and standard deviation of all seen so far, fixed during an update."""

    actor_learning_rate: Positive = 2e-3
    """Adam's step size for the actor at the start."""
    critic_learning_rate: Positive = 2e-3
    """Adam's step size for the critic at the start."""
    final_learning_rate: Weight = 1e-5
    """Both step sizes at the end of their linear decay."""
    betas: tuple[Decay, Decay] = (0.7, 0.95)
    """Adam's decay rates."""
    actor_grad_norm: Positive = 1.0
    """Gradient norm bound of the actor."""
    critic_grad_norm: Positive = 1.0
    """Gradient norm bound of the critic."""
    critic_passes: Annotated[int, Range(0, 1000)] = 16
    """Passes of the critic over a rollout's states per update."""
    critic_splits: Batch = 4
    """Mini-batches per pass."""
    critic_average: Decay = 0.2
    """Decay, per update, of the target critic, an average for targets and bootstraps; 0 uses the critic itself."""

    checkpoint_every: Period = 50
    """Updates between two checkpoints, from which the same command resumes."""
    log_every: Period = 5
    """Updates between two lines of metrics."""

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
