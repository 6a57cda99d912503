"""Settings of learning on line, and the settings of model and policy that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pwm.agents.pwm.config import PolicyConfig
from pwm.runtime.ranges import Decay, Episodes, Positive, Range, Ranged, Share, Steps
from pwm.world_model.config import PretrainConfig, world_model_size

MODEL = world_model_size(
    "small", latent_dim=128, encoder_units=(128,), units=(128, 128), embedding_init=0.3, bias_init=0.15
)
"""A world model of 0.13 million parameters, enough for single tasks of dm_control."""
TRAINING = PretrainConfig(
    horizon=8, batch_size=128, learning_rate=5e-4, warmup=100, encoder_scale=1.0, precision="auto",
    normalise_observations=True,
)  # fmt: skip
"""World-model updates on line, with a constant step size. `updates`, `held_out` and `short_horizons` do not matter."""
LEARNING = PolicyConfig(
    horizon=5, batch_size=128, early_starts=0.25, actor_units=(256, 128), critic_units=(256, 128), critic_passes=1,
    actor_learning_rate=3e-4, actor_average=0.995, precision="auto",
)  # fmt: skip
"""Policy updates on line: rollouts of 5 steps, since longer ones exploit a young model. `updates` does not matter."""


@dataclass(frozen=True)
class OnlineConfig(Ranged):
    """Rounds of real episodes, world-model updates and policy updates (paper Section 5.1 and Appendix C item 4).

    Short rollouts keep the policy where the model is right: see docs/online.md.
    """

    episodes: Episodes = 150
    """Real episodes per policy, random ones included, up to a whole round. A finished run goes on with more of them."""
    episodes_per_round: Episodes = 4
    """Real episodes per policy and round."""
    random_episodes: Annotated[int, Range(0, 10**6)] = 4
    """Episodes of random actions per policy before the first round, where there are no logs of its task."""
    model_updates: Positive = 0.4
    """World-model updates per real step of a policy."""
    policy_updates: Positive = 0.4
    """Policy updates per real step of a policy."""
    first_model_updates: Steps = 1500
    """World-model updates before the first round, on random episodes or logs."""
    first_policy_updates: Steps = 500
    """Policy updates before the first round. Many of them on few data leave critics that real episodes take long to
    correct."""
    recent_share: Decay = 0.3
    """Share of the slices and of the start states that come from the newest episodes alone."""
    recent_episodes: Episodes = 40
    """How many of a task's episodes are the newest."""
    gate: Share = 0.05
    """A round's policy is kept where the mean return of its real episodes is at most this share of the range of all
    rounds below the best round; 1 always keeps the newest."""
    falling_rates: bool = False
    """Whether the policies' step sizes fall to `final_learning_rate` over the planned rounds; else they stay."""
    evaluate_every: Annotated[int, Range(0, 10**6)] = 0
    """Real episodes per policy between two evaluations by mean actions, on episodes of their own; 0 makes none."""
    evaluation_episodes: Episodes = 8
    """Episodes per policy of such an evaluation."""
