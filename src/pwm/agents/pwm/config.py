"""Settings of policy learning. The defaults are the paper's; every departure from it is a field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pwm.runtime.config import Precision, require
from pwm.runtime.errors import PWMError
from pwm.runtime.ranges import (
    Batch,
    Decay,
    Few,
    Horizon,
    Layers,
    Period,
    Positive,
    Range,
    Ranged,
    Share,
    Steps,
    Weight,
)


@dataclass(frozen=True)
class PolicyConfig(Ranged):
    """Learning a policy by first-order gradients through imagined rollouts (paper Algorithm 1, Table 1, Appendix C)."""

    updates: Steps = 10_000
    """Actor updates per policy (Section 5.2)."""
    batch_size: Batch = 64
    """Imagined rollouts per update and policy."""
    horizon: Horizon = 16
    """Imagined steps H per rollout."""
    gamma: Share = 0.99
    """Discount per agent step."""
    td_lambda: Share = 0.95
    """Lambda of the critic's targets (Eq. 8); 0 is one-step TD, as in the published multi-task code."""
    bootstrap_exponent: Annotated[int, Range(0, 1000)] = 0
    """The terminal value in the actor's objective is weighted by gamma^(H + this); the published code has 1."""

    early_starts: Share = 0.0
    """Fraction of the start states from the first tenth of the episodes; the others (in the paper all) are uniform over
    the data. The same holds for the anchor's states."""

    actor_units: Layers = (400, 200, 100)
    """Hidden layers of the actor."""
    critic_units: Layers = (400, 200)
    """Hidden layers of each critic."""
    critics: Few = 3
    """Number of critics in the ensemble; the value is their minimum."""
    initial_log_std: Annotated[float, Range(-20, 20)] = -1.0
    """Initial log standard deviation of the actor's noise."""
    min_std: Positive = 0.24
    """Lower bound on the actor's noise (Appendix C item 3)."""
    actor_output_gain: Weight = 0.01
    """Gain of the orthogonal initialisation of the actor's last layer; small, so that actions start near zero."""
    critic_output_gain: Weight = 1.0
    """Gain of the orthogonal initialisation of each critic's last layer."""
    detach_actor_input: bool = True
    """Whether the actor's input is detached, so that gradients flow through the model's dynamics only."""

    reward_space: Literal["symlog", "true"] = "symlog"
    """Rewards as the two-hot mean without symexp ("symlog", the paper's pseudo-rewards), or with it ("true")."""
    return_scale: Literal["exponential", "cumulative", "none"] = "exponential"
    """Running standard deviation of the imagined returns, by which the actor's loss is divided."""
    return_scale_decay: Decay = 0.99
    """Decay of the exponential running moments."""

    actor_learning_rate: Positive = 5e-4
    """Adam's step size for the actor at the start."""
    critic_learning_rate: Positive = 5e-4
    """Adam's step size for the critics at the start."""
    final_learning_rate: Weight = 1e-5
    """Both step sizes at the end of their linear decay."""
    betas: tuple[Decay, Decay] = (0.7, 0.95)
    """Adam's decay rates."""
    actor_grad_norm: Positive = 1.0
    """Gradient norm bound of each actor."""
    critic_grad_norm: Positive = 100.0
    """Gradient norm bound of each critic ensemble."""
    critic_passes: Annotated[int, Range(0, 1000)] = 8
    """Passes of the critic over a rollout's states per update (Appendix C item 2)."""
    critic_splits: Batch = 4
    """Mini-batches per pass."""

    precision: Precision = "float32"
    """Number format of the matrix products; parameters, returns and sums stay float32. "auto" takes bfloat16 where the
    hardware multiplies it."""
    cuda_graph: bool = False
    """Whether a GPU runs each update as one recorded graph. The same arithmetic without launch after launch: for small
    fleets. Elsewhere it changes nothing."""
    mask_actions: bool = True
    """Zero a task's padded action entries before they enter the model; the published code does not."""

    behaviour_weight: Weight = 0.0
    """Weight of the anchor to the actions of the data's best episodes; 0 in the paper. See docs/recipe.md on its use
    with little data."""
    behaviour_by: Literal["auto", "return", "advantage"] = "auto"
    """What the anchor prefers: episodes of high return; or transitions of high advantage, the return to go minus a
    fitted value of the state. "auto" takes the advantage where starts explain half of the returns or more."""
    behaviour_sharpness: Annotated[float, Range(0, 10**6)] = 4.0
    """How much it prefers them. By return, episodes are drawn in proportion to (rank / episodes)^this, where the best
    has the highest rank: at 4, half of the draws come from the best eighth. By advantage, transitions are drawn in
    proportion to exp(this / 2 x advantage / its standard deviation)."""
    behaviour_updates: Steps = 0
    """Imitation updates before `updates`, in which only the anchor trains the actor."""
    behaviour_learning_rate: Positive = 1e-3
    """Adam's step size at the start of the imitation; it decays linearly to `final_learning_rate`."""
    critic_warmup: Steps = 0
    """The first so many of `updates` train only the critics, on the actor as it is."""
    behaviour_batch: Batch = 256
    """States per update and policy for the anchor."""
    actor_average: Decay = 0.0
    """Decay of an exponential average of the actor's parameters, which is saved; 0 saves the last iterate."""
    critic_average: Decay = 0.0
    """Decay, per critic step, of an exponential average of the critics, used for targets and terminal values; 0 uses
    the critics themselves."""

    checkpoint_every: Period = 250
    """Updates between two checkpoints, from which the same command resumes."""
    log_every: Period = 25
    """Updates between two lines of metrics."""

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = self.behaviour_weight > 0 or not self.behaviour_updates
        require(wanted, "behaviour_weight", self.behaviour_weight, "above 0 where behaviour_updates are asked for")

    @property
    def total_updates(self) -> int:
        """Number of all updates, imitation and imagination."""
        return self.behaviour_updates + self.updates

    @property
    def phases(self) -> dict[str, int]:
        """Number of updates of each phase, in order: "imitation", "critics" (alone), "imagination"."""
        critics = min(self.critic_warmup, self.updates)
        return {"imitation": self.behaviour_updates, "critics": critics, "imagination": self.updates - critics}


PRESETS: dict[str, PolicyConfig] = {
    "as_paper": PolicyConfig(),
    "as_published": PolicyConfig(td_lambda=0.0, bootstrap_exponent=1, mask_actions=False, batch_size=512),
}
"""The settings of the paper, and those of the authors' published multi-task code."""


def policy_preset(name: str, **overrides: object) -> PolicyConfig:
    """The preset called `name` with fields replaced. Raises PWMError for an unknown name."""
    if name not in PRESETS:
        raise PWMError(f"--preset {name}: no such preset; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **overrides)  # type: ignore[arg-type]
