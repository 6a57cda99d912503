"""Settings of the world model and of its pre-training; every number in the paper's Table 1 is a field."""

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
    """Standard deviation of the encoder's first biases. With zero (as in TD-MPC2), LayerNorm removes the length of the
    observation until training has grown the biases."""
    simnorm_group: int = 8
    """V of SimNorm (Eq. 4): the latent is `latent_dim / V` softmaxes of V entries each."""
    bins: int = 101
    """Bins of the two-hot reward code, evenly spaced in symlog space."""
    bin_low: float = -10.0
    """Lowest bin, in symlog space."""
    bin_high: float = 10.0
    """Highest bin, in symlog space."""
    episodic: bool = False
    """Whether to learn a termination head (needed only if episodes can end early)."""


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-training of the world model on offline data (paper Eq. 10)."""

    updates: int = 100_000
    """Gradient steps."""
    batch_size: int = 1024
    """Slices per step, sampled uniformly over tasks, then over starts."""
    horizon: int = 16
    """Steps H of a slice, over which the latent is rolled out and compared with the data."""
    short_horizons: tuple[int, ...] = ()
    """Shorter horizons to train first, each for an equal share of the updates; none in the paper. Batches of shorter
    slices hold more of them, so that a batch always has batch_size * horizon transitions."""
    early_starts: float = 0.0
    """Fraction of the slices that start in the first tenth of an episode; the others (in the paper all) start
    anywhere."""
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
    """Adam's step size at the end of a linear decay; none keeps it constant, as in the paper."""
    warmup: int = 0
    """Updates over which the step size rises linearly from zero."""
    encoder_scale: float = 0.3
    """The encoder's step size as a fraction of the others'."""
    grad_norm: float = 20.0
    """Gradients are clipped to this norm."""
    precision: Precision = "float32"
    """Number format of the matrix products; parameters and sums stay float32. "auto" takes bfloat16 where the hardware
    multiplies it."""
    cuda_graph: bool = False
    """Whether a GPU runs each update as one recorded graph. The same arithmetic without launch after launch: for small
    models. Elsewhere it changes nothing."""
    micro_batch: int | None = None
    """Slices that pass through the model at once, to save memory; the gradients of the parts of a batch are
    accumulated (equal up to rounding). None takes the whole batch."""
    recompute_steps: int = 0
    """Rollout steps per block of gradient checkpointing, which recomputes activations in the backward pass to save
    memory; 0 keeps all activations."""
    normalise_observations: bool = False
    """Whether observations are normalised to mean 0 and standard deviation 1 per task; not in the paper."""
    held_out: float = 0.05
    """Fraction of the episodes of each task that is held out to evaluate the model."""
    evaluate_every: int = 500
    """Updates between two evaluations on the held-out episodes."""
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
"""World models by the size (millions of parameters) of the corresponding TD-MPC2 agent."""


def world_model_size(name: str, **overrides: object) -> WorldModelConfig:
    """The architecture called `name`, one of `SIZES`. Raises PWMError for an unknown name."""
    if name not in SIZES:
        raise PWMError(f"--size {name}: no such size; choose one of {', '.join(SIZES)}")
    return replace(SIZES[name], **overrides)  # type: ignore[arg-type]
