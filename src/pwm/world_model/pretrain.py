"""Pre-training one multi-task world model on an episode store (paper Section 4.3, Algorithm 1, first loop)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pwm.data.sampler import SliceBatch, SliceSampler, split_episodes
from pwm.data.store import EpisodeStore
from pwm.learning.optimiser import adam, set_rate
from pwm.nn.adam import clipped_step
from pwm.nn.products import resolve_precision, set_precision
from pwm.runtime.captured import CapturedStep
from pwm.runtime.checkpoint import (
    check_same,
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
from pwm.runtime.metrics import MetricsLog
from pwm.runtime.progress import progress
from pwm.world_model.config import PretrainConfig, WorldModelConfig
from pwm.world_model.files import describe, load_world_model, save_world_model, world_model_path
from pwm.world_model.loss import world_model_loss
from pwm.world_model.model import WorldModel

_HELD_OUT_BATCH = 512
_KIND = "world model checkpoint"


class Pretrainer:
    """A world model in training: model, optimiser and data; `update` is one gradient step.

    Args:
        store: episodes of all tasks.
        model_config, config: architecture and training settings.
        seed: of initialisation, held-out split and batches.
        device: where the model and the batches live.
    """

    def __init__(
        self,
        store: EpisodeStore,
        model_config: WorldModelConfig,
        config: PretrainConfig,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.store, self.config, self.seed = store, config, seed
        dims = [(store[task].observation_dim, store[task].action_dim) for task in store.tasks]
        self.model = WorldModel(model_config, store.tasks, [o for o, _ in dims], [a for _, a in dims], seed)
        train, held_out = split_episodes(store, config.held_out, seed)
        if config.normalise_observations:
            for task in store.tasks:
                self.model.normalise_observations(task, *_moments(store, task, train[task]))
        self.model.to(device)
        set_precision(self.model, resolve_precision(config.precision, device))
        horizons = (*config.short_horizons, config.horizon)
        if any(not 1 <= h <= config.horizon for h in horizons):
            raise PWMError(f"short_horizons {config.short_horizons}: each must be from 1 to horizon {config.horizon}")
        rows = config.batch_size * config.horizon
        self.samplers = [
            SliceSampler(store, h, max(rows // h, 1), seed, device, train, config.early_starts) for h in horizons
        ]
        self.held_out = None
        if all((store[task].lengths[episodes] >= config.horizon).any() for task, episodes in held_out.items()):
            sampler = SliceSampler(store, config.horizon, _HELD_OUT_BATCH, seed + 1, device, held_out)
            self.held_out = sampler.sample(0)
        named = list(self.model.named_parameters())
        encoder = [p for name, p in named if name.startswith("encoder.")]
        groups = [{"params": encoder}, {"params": [p for name, p in named if not name.startswith("encoder.")]}]
        self.optimiser = adam(groups, device, config.learning_rate)
        self._run = CapturedStep(self.step, device, config.cuda_graph)
        self.updates = 0

    def learning_rate(self, step: int) -> float:
        """Adam's step size at update `step`: warm-up, then a straight line to the final value."""
        config = self.config
        end = config.learning_rate if config.final_learning_rate is None else config.final_learning_rate
        rate = config.learning_rate + (end - config.learning_rate) * step / max(config.updates - 1, 1)
        return rate * min(1.0, (step + 1) / (config.warmup + 1))

    def sampler(self, step: int) -> SliceSampler:
        """The source of the slices of update `step`: each horizon has an equal share of the updates, in order."""
        return self.samplers[min(step * len(self.samplers) // self.config.updates, len(self.samplers) - 1)]

    def update(self) -> dict[str, Tensor]:
        """One gradient step on the next batch; returns its losses and gradient norm (before clipping)."""
        config = self.config
        rate = self.learning_rate(self.updates)
        for group, factor in zip(self.optimiser.param_groups, (config.encoder_scale, 1.0), strict=True):
            set_rate(group, rate * factor)
        values = self._run("update", *self.sampler(self.updates).sample(self.updates))
        self.updates += 1
        return values

    def step(self, _: str, *batch: Tensor) -> dict[str, Tensor]:
        """One gradient step on the parts of a `SliceBatch`; what a CUDA graph records, so nothing in here may wait."""
        losses = backward(self.model, SliceBatch(*batch), self.config)
        grads = [p.grad for group in self.optimiser.param_groups for p in group["params"]]
        (norm,) = clipped_step(self.optimiser, grads, 1, self.config.grad_norm)
        self.model.project_embedding()
        return losses | {"grad_norm": norm}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Losses on the held-out episodes and, per task, how well rewards are foretold H steps ahead (correlation)."""
        if self.held_out is None:
            return {}
        _, parts = world_model_loss(self.model, self.held_out, self.config)
        values = {f"held_out_{name}": float(value) for name, value in parts.items()}
        return values | reward_correlation(self.model, self.held_out)

    def save(self, path: PathLike) -> None:
        """Write everything that resuming needs, atomically."""
        tensors = module_tensors(self.model, "model") | optimiser_tensors(self.optimiser, "adam")
        write_described(path, tensors, self._about() | {"updates": self.updates})

    def load(self, path: PathLike) -> None:
        """Continue from a checkpoint; raises PWMError when it belongs to other data or settings."""
        tensors, about = read_described(path, _KIND)
        check_same(path, about, self._about())
        load_module(self.model, "model", tensors, path)
        load_optimiser(self.optimiser, "adam", tensors)
        self.updates = about["updates"]

    def _about(self) -> dict:
        return {
            "kind": _KIND,
            "model": describe(self.model),
            "settings": to_dict(self.config),
            "seed": self.seed,
            "data": self.store.fingerprint(),
        }


def _moments(store: EpisodeStore, task: str, episodes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [observation_dim] over (at most 256 of) the given episodes of a task."""
    data = store[task]
    picked = episodes[:: max(1, len(episodes) // 256)]
    rows = [data.observations[data.offsets[e] + e : data.offsets[e + 1] + e + 1] for e in picked]
    observations = torch.from_numpy(np.concatenate(rows)).double()
    return observations.mean(dim=0).float(), observations.std(dim=0).clamp(min=1e-2).float()


def backward(model: WorldModel, batch: SliceBatch, config: PretrainConfig) -> dict[str, Tensor]:
    """Leave the gradient of the batch's loss in the parameters, part by part; returns the batch's losses."""
    model.zero_grad(set_to_none=True)
    total: dict[str, Tensor] = {}
    for part, share in micro_batches(batch, config):
        loss, parts = world_model_loss(model, part, config)
        if share < 1.0:
            loss = loss * share
        loss.backward()
        for name, value in {"loss": loss.detach(), **{n: p * share for n, p in parts.items()}}.items():
            total[name] = total[name] + value if name in total else value
    return total


def micro_batches(batch: SliceBatch, config: PretrainConfig) -> Iterator[tuple[SliceBatch, float]]:
    """The parts in which a batch passes through the model, and their shares of it.

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
def reward_correlation(model: WorldModel, batch: SliceBatch) -> dict[str, float]:
    """Per task, the correlation of the real last reward of a slice with the one foretold from its first observation.

    Values are named `foresight/<task>`; a task whose last rewards are all the same is left out.
    """
    bound = model.bind(batch.tasks)
    latent = bound.rollout(bound.encode(batch.observations[0]), batch.actions[:-1])[-1]
    foretold = bound.reward(latent, batch.actions[-1])
    values = {}
    for row, task in enumerate(model.tasks):
        pair = torch.stack((foretold, batch.rewards[-1]))[:, batch.tasks == row]
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
    """Train a world model and leave it in the run folder `out`; the same call resumes, or returns the finished model.

    Writes `world_model/weights.safetensors` at the end, `world_model/checkpoint.safetensors` on the way, and lines of
    phase "world_model" to `metrics.jsonl`.

    Raises:
        PWMError: the folder holds a checkpoint of other data or settings; the data cannot be used; the loss is not
            finite.
    """
    weights = world_model_path(out)
    checkpoint = weights.with_name("checkpoint.safetensors")
    trainer = Pretrainer(store, model_config, config, seed, device)
    if checkpoint.exists():
        trainer.load(checkpoint)
    if weights.exists() and trainer.updates >= config.updates:
        return load_world_model(weights, device)
    with MetricsLog(Path(out)) as log, progress("World model", config.updates, trainer.updates) as bar:
        log.truncate("world_model", trainer.updates)
        while trainer.updates < config.updates:
            values = trainer.update()
            step, last = trainer.updates, trainer.updates == config.updates
            logs, saves = step % 25 == 0 or last, step % config.checkpoint_every == 0 or last
            if logs or saves:  # the only moments at which the loop waits for the device
                numbers = _finite(values, step, checkpoint)
            if logs:
                if step % config.evaluate_every == 0 or last:
                    numbers |= trainer.measure()
                log.write("world_model", step, numbers)
                bar.advance(0, loss=numbers["loss"])
            bar.advance(1)
            if saves:
                trainer.save(checkpoint)
    save_world_model(weights, trainer.model)
    return trainer.model


def _finite(values: dict[str, Tensor], step: int, checkpoint: Path) -> dict[str, float]:
    """The metrics as numbers; raises PWMError where one is NaN or infinite.

    Comes before every checkpoint, so that the one on disk is always of a sound model.
    """
    numbers = {name: float(value) for name, value in values.items()}
    for name, number in numbers.items():
        if not math.isfinite(number):
            kept = f"; {checkpoint} is of an update before it" if checkpoint.exists() else ""
            raise PWMError(
                f"world model: {name} is {number} at update {step}; "
                f"train again with a lower learning_rate into another --out{kept}"
            )
    return numbers
