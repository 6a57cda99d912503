"""Settings of the world model and of its pre-training; every number in the paper's Table 1 is a field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pwm.runtime.config import Precision, require
from pwm.runtime.errors import PWMError
from pwm.runtime.ranges import (
    Batch,
    Decay,
    Horizon,
    Layers,
    Period,
    Positive,
    Range,
    Ranged,
    Share,
    Steps,
    Weight,
    Width,
)


@dataclass(frozen=True)
class WorldModelConfig(Ranged):
    """Architecture of the world model (paper Section 4.3 and Table 1; TD-MPC2 sizes)."""

    latent_dim: Width = 768
    """Width of the latent state z; a multiple of `simnorm_group`."""
    encoder_units: Layers = (1792, 1792, 1792)
    """Hidden layers of the encoder E(s, e)."""
    units: Layers = (1792, 1792)
    """Hidden layers of the dynamics F(z, a, e) and of the reward R(z, a, e)."""
    task_dim: Annotated[int, Range(0, 65_536)] = 96
    """Width of the learned task embedding e; its norm never exceeds 1. With 0, the model does not know the task."""
    embedding_init: Weight = 0.02
    """Task embeddings start uniform in +- this, entry by entry."""
    bias_init: Weight = 0.0
    """Standard deviation of the encoder's first biases. With zero (as in TD-MPC2), LayerNorm removes the length of the
    observation until training has grown the biases."""
    simnorm_group: Width = 8
    """V of SimNorm (Eq. 4): the latent is `latent_dim / V` softmaxes of V entries each."""
    bins: Annotated[int, Range(2, 4096)] = 101
    """Bins of the two-hot reward code, evenly spaced in symlog space."""
    bin_low: Annotated[float, Range(-30, 30)] = -10.0
    """Lowest bin, in symlog space."""
    bin_high: Annotated[float, Range(-30, 30)] = 10.0
    """Highest bin, in symlog space."""
    episodic: bool = False
    """Whether to learn a termination head. `pretrain` does where episodes of the data terminate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bin_low < self.bin_high, "bin_low", self.bin_low, f"below bin_high, {self.bin_high}")


@dataclass(frozen=True)
class PretrainConfig(Ranged):
    """Pre-training of the world model on offline data (paper Eq. 10)."""

    updates: Steps = 100_000
    """Gradient steps."""
    batch_size: Batch = 1024
    """Slices per step, sampled uniformly over tasks, then over starts."""
    horizon: Horizon = 16
    """Steps H of a slice, over which the latent is rolled out and compared with the data."""
    short_horizons: Annotated[tuple[Horizon, ...], Range(0, 64)] = ()
    """Shorter horizons to train first, each for an equal share of the updates; none in the paper. Batches of shorter
    slices hold more of them, so that a batch always has batch_size * horizon transitions."""
    early_starts: Share = 0.0
    """Fraction of the slices that start in the first tenth of an episode; the others (in the paper all) start
    anywhere."""
    rho: Share = 0.99
    """Weight of step t is rho^t (the gamma of Eq. 10)."""
    latent_weight: Weight = 20.0
    """Weight of the latent consistency term."""
    reward_weight: Weight = 0.1
    """Weight of the reward cross-entropy."""
    termination_weight: Weight = 1.0
    """Weight of the termination cross-entropy; with 0, no terminations are learned, whatever the data have."""
    learning_rate: Positive = 3e-4
    """Adam's step size at the start."""
    final_learning_rate: Weight | None = None
    """Adam's step size at the end of a linear decay; none keeps it constant, as in the paper."""
    warmup: Steps = 0
    """Updates over which the step size rises linearly from zero."""
    encoder_scale: Weight = 0.3
    """The encoder's step size as a fraction of the others'."""
    grad_norm: Positive = 20.0
    """Gradients are clipped to this norm."""
    precision: Precision = "float32"
    """Number format of the matrix products; parameters and sums stay float32. "auto" takes bfloat16 where the hardware
    multiplies it."""
    cuda_graph: bool = False
    """Whether a GPU runs each update as one recorded graph. The same arithmetic without launch after launch: for small
    models. Elsewhere it changes nothing."""
    micro_batch: Batch | None = None
    """Slices that pass through the model at once, to save memory; the gradients of the parts of a batch are
    accumulated (equal up to rounding). None takes the whole batch."""
    recompute_steps: Annotated[int, Range(0, 10**5)] = 0
    """Rollout steps per block of gradient checkpointing, which recomputes activations in the backward pass to save
    memory; 0 keeps all activations."""
    normalise_observations: bool = True
    """Whether observations are normalised to mean 0 and standard deviation 1 per task; not in the paper."""
    held_out: Decay = 0.05
    """Fraction of the episodes of each task that is held out to evaluate the model."""
    evaluate_every: Period = 500
    """Updates between two evaluations on the held-out episodes."""
    checkpoint_every: Period = 500
    """Updates between two checkpoints, from which the same command resumes."""


PRETRAIN_PRESETS: dict[str, PretrainConfig] = {
    "normalised": PretrainConfig(),
    "as_paper": PretrainConfig(normalise_observations=False),
}
"""The paper's settings, with observations normalised and as they are."""


def pretrain_preset(name: str) -> PretrainConfig:
    """The preset called `name`. Raises PWMError for an unknown name."""
    if name not in PRETRAIN_PRESETS:
        raise PWMError(f"--preset {name}: no such preset; choose one of {', '.join(PRETRAIN_PRESETS)}")
    return PRETRAIN_PRESETS[name]


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
