"""Settings of the world model and of its pre-training; every number of the paper's Table 1 is a field here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pwm.runtime.config import Precision, require
from pwm.runtime.errors import PWMError


@dataclass(frozen=True)
class WorldModelConfig:
    """Architecture of the world model (paper Section 4.3 and Table 1; TD-MPC2 sizes)."""

    latent_dim: int = 768
    """Width of the latent state z; a multiple of `simnorm_group`."""
    encoder_units: tuple[int, ...] = (1792, 1792, 1792)
    """Hidden layers of the encoder E(s, e)."""
    units: tuple[int, ...] = (1792, 1792)
    """Hidden layers of the dynamics F(z, a, e) and of the reward R(z, a, e)."""
    task_dim: int = 96
    """Width of the learned task embedding e; its norm never exceeds 1."""
    embedding_init: float = 0.02
    """Task embeddings start uniform in +- this, entry by entry."""
    bias_init: float = 0.0
    """Standard deviation of the encoder's first biases. Zero, TD-MPC2's choice, hides the length of an observation from
    the LayerNorm that follows until training has grown them."""
    simnorm_group: int = 8
    """V of SimNorm (Eq. 4): the latent is `latent_dim / V` softmaxes of V entries each."""
    bins: int = 101
    """Bins of the two-hot reward code, evenly spaced in symlog space."""
    bin_low: float = -10.0
    """Lowest bin, in symlog space."""
    bin_high: float = 10.0
    """Highest bin, in symlog space."""
    episodic: bool = False
    """Whether to learn a termination head (needed only where episodes can end early)."""


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-training of the world model on offline data (paper Eq. 10)."""

    updates: int = 100_000
    """Gradient steps."""
    batch_size: int = 1024
    """Slices per step, drawn uniformly over tasks, then over starts."""
    horizon: int = 16
    """Steps H of a slice: how far the latent is rolled out before it is compared with the data."""
    short_horizons: tuple[int, ...] = ()
    """Horizons trained first, each for an equal share of the updates, the full one last; the paper has none.
    Shorter slices make larger batches, so that a batch always holds batch_size * horizon transitions."""
    early_starts: float = 0.0
    """Share of the slices that start in the first tenth of an episode's possible starts; the rest start anywhere, as
    all do in the paper."""
    rho: float = 0.99
    """Weight of step t is rho^t (the gamma of Eq. 10)."""
    latent_weight: float = 20.0
    """Weight of the latent consistency term."""
    reward_weight: float = 0.1
    """Weight of the reward cross-entropy."""
    termination_weight: float = 1.0
    """Weight of the termination cross-entropy (episodic tasks only)."""
    learning_rate: float = 3e-4
    """Adam's step size at the start."""
    final_learning_rate: float | None = None
    """Adam's step size at the end of a linear decay; none keeps it constant, as the paper does."""
    warmup: int = 0
    """Updates over which the step size rises linearly from zero."""
    encoder_scale: float = 0.3
    """The encoder's step size as a fraction of the others'."""
    grad_norm: float = 20.0
    """Gradients are scaled down to this norm when they exceed it."""
    precision: Precision = "float32"
    """Number format of the matrix products; parameters and sums stay float32. "auto" takes bfloat16 where the hardware
    multiplies it."""
    cuda_graph: bool = False
    """Whether a GPU runs each update as one recorded graph. The same arithmetic without launch after launch: for small
    models. Elsewhere it changes nothing."""
    micro_batch: int | None = None
    """Slices that pass through the model at once; a larger batch goes through in parts whose gradients add up to the
    batch's own, up to rounding. None takes the whole batch. Meant for memory, as is the next one."""
    recompute_steps: int = 0
    """Rollout steps whose activations are thrown away and computed again in the backward pass, block by block; 0 keeps
    all activations."""
    normalise_observations: bool = False
    """Whether the encoder sees observations scaled to mean 0 and deviation 1 per task; the paper feeds them raw."""
    held_out: float = 0.05
    """Fraction of the episodes of each task kept away from training, to measure the model on."""
    evaluate_every: int = 500
    """Updates between two measurements on the held-out episodes."""
    checkpoint_every: int = 500
    """Updates between two checkpoints, from which the same command resumes."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "horizon", "evaluate_every", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.micro_batch is None or self.micro_batch >= 1, "micro_batch", self.micro_batch, "at least 1")
        weights = ("latent_weight", "reward_weight", "termination_weight")
        for name in ("updates", "warmup", "recompute_steps", *weights, "encoder_scale"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("early_starts", "rho"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        for name in ("learning_rate", "grad_norm"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")


SIZES: dict[str, WorldModelConfig] = {
    "tiny": WorldModelConfig(latent_dim=32, encoder_units=(32,), units=(32, 32), task_dim=8),
    "small": WorldModelConfig(latent_dim=128, encoder_units=(256,), units=(256, 256), task_dim=32),
    "1": WorldModelConfig(latent_dim=128, encoder_units=(256,), units=(384, 384)),
    "5": WorldModelConfig(latent_dim=512, encoder_units=(256,), units=(512, 512)),
    "19": WorldModelConfig(latent_dim=768, encoder_units=(1024, 1024), units=(1024, 1024)),
    "48": WorldModelConfig(),
    "317": WorldModelConfig(latent_dim=1376, encoder_units=(4096,) * 4, units=(4096, 4096)),
}
"""World models by the size of the TD-MPC2 agent (millions of parameters) that they come from."""


def world_model_size(name: str, **overrides: object) -> WorldModelConfig:
    """The architecture called `name`, one of `SIZES`; raises PWMError for another name."""
    if name not in SIZES:
        raise PWMError(f"--size {name}: no such size; choose one of {', '.join(SIZES)}")
    return replace(SIZES[name], **overrides)  # type: ignore[arg-type]
