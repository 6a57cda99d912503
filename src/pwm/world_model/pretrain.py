"""Pre-trains a multi-task world model on an episode store (paper Section 4.3, Algorithm 1, first loop)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pwm.data.moments import divisors, moments
from pwm.data.preflight import Grid, reward_scale
from pwm.data.sampler import SliceBatch, SliceSampler, split_episodes
from pwm.data.store import EpisodeStore
from pwm.learning.loop import train
from pwm.learning.optimiser import adam, set_rate
from pwm.nn.adam import clipped_step
from pwm.nn.products import resolve_precision, set_precision
from pwm.runtime.captured import CapturedStep
from pwm.runtime.checkpoint import (
    check_same,
    described,
    load_module,
    load_optimiser,
    module_tensors,
    optimiser_tensors,
    read_described,
    write_described,
)
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.world_model.config import PretrainConfig, WorldModelConfig
from pwm.world_model.files import describe, load_world_model, save_world_model, world_model_path
from pwm.world_model.loss import world_model_loss
from pwm.world_model.model import WorldModel

_HELD_OUT_BATCH = 512
_LOG_EVERY = 25
_KIND = "world model checkpoint"
_FAILURE = (
    "world model: {name} is {number} at update {step}; train again with a lower learning_rate into another --out{kept}"
)

Loss = Callable[[WorldModel, SliceBatch, PretrainConfig], tuple[Tensor, dict[str, Tensor]]]
"""(model, batch, config) -> the scalar to minimise, and its parts (detached) by name, as `world_model_loss`."""
Sampler = Callable[[int], SliceBatch]
"""Update number -> batch; must be a pure function, so that a resumed run repeats itself."""


class Pretrainer:
    """Trains a world model: holds model, optimiser and sampler; `update` is one gradient step.

    Args:
        model: trained in place, on its device.
        sampler: gives the batches, on the same device. May be replaced between updates.
        loss: the objective.
        config: training settings. With neither `warmup` nor `final_learning_rate` the step size is constant, and
            training may continue beyond `updates`.
        about: what a checkpoint must agree with, besides the model's architecture and `config`.
        held_out: slices to evaluate the model on with `measure`.
    """

    def __init__(
        self,
        model: WorldModel,
        sampler: Sampler,
        loss: Loss,
        config: PretrainConfig,
        about: Mapping[str, Any] | None = None,
        held_out: SliceBatch | None = None,
    ) -> None:
        self.model, self.sampler, self.loss, self.config, self.held_out = model, sampler, loss, config, held_out
        self._extra = dict(about or {})
        device = model.embedding.device
        set_precision(model, resolve_precision(config.precision, device))
        named = list(model.named_parameters())
        encoder = [p for name, p in named if name.startswith("encoder.")]
        groups = [{"params": encoder}, {"params": [p for name, p in named if not name.startswith("encoder.")]}]
        self.optimiser = adam(groups, device, config.learning_rate)
        self._run = CapturedStep(self.step, device, config.cuda_graph)
        self.updates = 0

    def learning_rate(self, step: int) -> float:
        """Adam's step size at update `step`: linear warm-up and linear decay."""
        config = self.config
        end = config.learning_rate if config.final_learning_rate is None else config.final_learning_rate
        rate = config.learning_rate + (end - config.learning_rate) * step / max(config.updates - 1, 1)
        return rate * min(1.0, (step + 1) / (config.warmup + 1))

    def update(self) -> dict[str, Tensor]:
        """One gradient step on the next batch; returns its losses and gradient norm (before clipping)."""
        config = self.config
        rate = self.learning_rate(self.updates)
        for group, factor in zip(self.optimiser.param_groups, (config.encoder_scale, 1.0), strict=True):
            set_rate(group, rate * factor)
        values = self._run("update", *self.sampler(self.updates))
        self.updates += 1
        return values

    def step(self, _: str, *batch: Tensor) -> dict[str, Tensor]:
        """One gradient step on the fields of a `SliceBatch`. Recorded by CUDA graphs, so it must not sync."""
        losses = backward(self.model, self.loss, SliceBatch(*batch), self.config)
        grads = [p.grad for group in self.optimiser.param_groups for p in group["params"]]
        (norm,) = clipped_step(self.optimiser, grads, 1, self.config.grad_norm)
        self.model.project_embedding()
        return losses | {"grad_norm": norm}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Losses on the held-out slices and, per task, the `foretold_rewards`; empty if there are none."""
        if self.held_out is None:
            return {}
        _, parts = self.loss(self.model, self.held_out, self.config)
        values = {f"held_out_{name}": float(value) for name, value in parts.items()}
        return values | foretold_rewards(self.model, self.held_out)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and Adam's state by name; with `updates`, everything that resuming needs."""
        return module_tensors(self.model, "model") | optimiser_tensors(self.optimiser, "adam")

    def restore(self, tensors: dict[str, Tensor], updates: int, path: PathLike) -> None:
        """Restore what `tensors` returned. Raises PWMError, naming `path`, if the weights do not fit the model."""
        load_module(self.model, "model", tensors, path)
        load_optimiser(self.optimiser, "adam", tensors)
        self.updates = updates

    def save(self, path: PathLike) -> None:
        """Write a checkpoint to `path`, atomically."""
        write_described(path, self.tensors(), self._about() | {"updates": self.updates})

    def load(self, path: PathLike) -> None:
        """Continue from a checkpoint. Raises PWMError if it belongs to other data or settings."""
        tensors, about = read_described(path, _KIND)
        check_same(path, about, self._about())
        with described(path):
            self.restore(tensors, about["updates"], path)

    def _about(self) -> dict[str, Any]:
        return {"kind": _KIND, "model": describe(self.model), "settings": to_dict(self.config), **self._extra}


def build_pretrainer(
    store: EpisodeStore,
    model_config: WorldModelConfig,
    config: PretrainConfig,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Pretrainer:
    """A `Pretrainer` with a new world model of all tasks in `store`, its episodes and the paper's loss.

    A fraction `config.held_out` of the episodes is held out; `seed` determines initial weights, this split and batches.

    Raises:
        PWMError: a task has no episode of `config.horizon` steps, or one of `short_horizons` is out of range.
    """
    horizons = (*config.short_horizons, config.horizon)
    if any(not 1 <= h <= config.horizon for h in horizons):
        raise PWMError(f"short_horizons {config.short_horizons}: each must be from 1 to horizon {config.horizon}")
    dims = [(store[task].observation_dim, store[task].action_dim) for task in store.tasks]
    model = WorldModel(model_config, store.tasks, [o for o, _ in dims], [a for _, a in dims], seed)
    split, reserved = split_episodes(store, config.held_out, seed)
    for task in store.tasks:
        adapt(model, store, task, split[task], config.normalise_observations)
    rows = config.batch_size * config.horizon
    samplers = [SliceSampler(store, h, max(rows // h, 1), seed, device, split, config.early_starts) for h in horizons]

    def sampler(step: int) -> SliceBatch:
        """Each horizon has an equal share of the updates, in order; the last one also any further updates."""
        return samplers[min(step * len(samplers) // config.updates, len(samplers) - 1)].sample(step)

    held_out = None
    if all((store[task].lengths[episodes] >= config.horizon).any() for task, episodes in reserved.items()):
        held_out = SliceSampler(store, config.horizon, _HELD_OUT_BATCH, seed + 1, device, reserved).sample(0)
    about = {"seed": seed, "data": store.fingerprint()}
    return Pretrainer(model.to(device), sampler, world_model_loss, config, about, held_out)


def adapt(
    model: WorldModel, store: EpisodeStore, task: str, episodes: np.ndarray, normalise: bool, early: bool = False
) -> None:
    """Let a model see a task in numbers that networks can take: rewards divided where the reward code does not hold
    them (`reward_scale`), and observations normalised by the given episodes if `normalise`.

    Args:
        early: the episodes are the first few of many; later rewards and observations may be much larger.
    """
    model.scale_rewards(task, reward_scale(store[task], grid_of(model.config), least=0.01 if early else 1.0))
    if normalise:
        mean, deviation = moments(store, task, episodes)
        model.normalise_observations(
            task, torch.from_numpy(mean).float(), torch.from_numpy(divisors(mean, deviation, early)).float()
        )


def grid_of(config: WorldModelConfig) -> Grid:
    """The reward code of a world model."""
    return Grid(config.bins, config.bin_low, config.bin_high)


def backward(model: WorldModel, loss: Loss, batch: SliceBatch, config: PretrainConfig) -> dict[str, Tensor]:
    """Accumulate the gradient of the batch's loss in the parameters, part by part; returns the batch's losses."""
    model.zero_grad(set_to_none=True)
    total: dict[str, Tensor] = {}
    for part, share in micro_batches(batch, config):
        value, parts = loss(model, part, config)
        if share < 1.0:
            value = value * share
        value.backward()
        for name, new in {"loss": value.detach(), **{n: p * share for n, p in parts.items()}}.items():
            total[name] = total[name] + new if name in total else new
    return total


def micro_batches(batch: SliceBatch, config: PretrainConfig) -> Iterator[tuple[SliceBatch, float]]:
    """The parts in which a batch passes through the model, and their fractions of it.

    Slices shorter than `horizon` make larger parts, as they make larger batches.
    """
    horizon, slices = batch.rewards.shape
    size = slices if config.micro_batch is None else max(config.micro_batch * config.horizon // horizon, 1)
    if size >= slices:
        yield batch, 1.0
        return
    for first in range(0, slices, size):
        part = slice(first, first + size)
        yield SliceBatch(*(x[:, part] for x in batch[:-1]), batch.tasks[part]), len(batch.tasks[part]) / slices


@torch.no_grad()
def foretold_rewards(model: WorldModel, batch: SliceBatch) -> dict[str, float]:
    """How well the model predicts a slice's last reward from the first observation, per task.

    `foresight/<task>` is the correlation of prediction and reward, and left out where the rewards are all equal;
    `reward_error/<task>` is the mean distance between them, in the task's units.
    """
    bound = model.bind(batch.tasks).scaled()
    latent = bound.rollout(bound.encode(batch.observations[0]), batch.actions[:-1])[-1]
    predicted = bound.reward(latent, batch.actions[-1])
    values = {}
    both = torch.stack((predicted, batch.rewards[-1] / bound.reward_scale))
    for row, task in enumerate(model.tasks):
        pair = both[:, batch.tasks == row]
        if pair.shape[1] > 0:
            values[f"reward_error/{task}"] = float((pair[0] - pair[1]).abs().mean() * model.reward_scale[row])
        if pair.shape[1] > 2 and float(pair.std(dim=1).min()) > 1e-6:
            values[f"foresight/{task}"] = float(torch.corrcoef(pair)[0, 1])
    return values


def pretrain(
    store: EpisodeStore,
    out: PathLike,
    model_config: WorldModelConfig,
    config: PretrainConfig,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> WorldModel:
    """Train a world model in the run folder `out`; the same call resumes, or returns the finished model.

    Writes `world_model/weights.safetensors` at the end, `world_model/checkpoint.safetensors` during training, and lines
    of phase "world_model" to `metrics.jsonl`.

    Raises:
        PWMError: the folder holds a checkpoint with other data or settings, the data cannot be used, or the loss is not
            finite.
    """
    weights = world_model_path(out)
    checkpoint = weights.with_name("checkpoint.safetensors")
    trainer = build_pretrainer(store, model_config, config, seed, device)
    if checkpoint.exists():
        trainer.load(checkpoint)
    if weights.exists() and trainer.updates >= config.updates:
        return load_world_model(weights, device)

    def measure(numbers: dict[str, float]) -> dict[str, float]:
        due = trainer.updates % config.evaluate_every == 0 or trainer.updates == config.updates
        return numbers | trainer.measure() if due else numbers

    every = {"log_every": _LOG_EVERY, "checkpoint_every": config.checkpoint_every}
    what = {"phase": "world_model", "title": "World model", "failure": _FAILURE}
    train(trainer, config.updates, checkpoint, out, **what, **every, measure=measure, shown=("loss",))
    save_world_model(weights, trainer.model)
    return trainer.model
