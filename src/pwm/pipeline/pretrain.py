"""`pwm.pretrain` and `pwm pretrain`: pre-trains a world model on a store's tasks, in a run folder."""

from __future__ import annotations

from functools import partial

import torch

from pwm.data.preflight import as_facts
from pwm.data.store import EpisodeStore
from pwm.nn.native import description
from pwm.pipeline.checks import before_pretraining, show, with_terminations
from pwm.pipeline.facts import data_facts, task_facts
from pwm.pipeline.timed_step import timed_step
from pwm.runtime.checkpoint import updates_done
from pwm.runtime.device import resolve_device
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.run_folder import read_run_file, record_step, refuse_changes
from pwm.runtime.stopwatch import Stopwatch
from pwm.world_model.config import PretrainConfig, WorldModelConfig, world_model_size
from pwm.world_model.estimate import estimate_pretrain, world_model_update_flops
from pwm.world_model.files import load_world_model, world_model_path
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import pretrain as pretrain_world_model


@alone("out")
def pretrain(
    store: EpisodeStore,
    out: PathLike,
    model: WorldModelConfig | str = "48",
    config: PretrainConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "auto",
    *,
    command: str | None = None,
    clock: Stopwatch | None = None,
) -> WorldModel:
    """Pre-train one world model on all tasks of `store`, in the run folder `out`.

    The same call again resumes, or returns the finished model. `model` is an architecture or the name of one
    ("tiny", "small", "1", "5", "19", "48", "317"); `config` defaults to the paper's settings with normalised
    observations; `command` repeats the training, for run.json. Terminations are learned where the data have them,
    unless `config.termination_weight` is 0. What in the data does not fit is printed, and kept in run.json.

    Raises:
        PWMError: the data cannot be used, or `out` holds a world model with other data or settings.
    """
    device = resolve_device(device) if isinstance(device, str) else device
    model = world_model_size(model) if isinstance(model, str) else model
    config = config or PretrainConfig()
    model = with_terminations(model, config, store)
    made_from = {"tasks": list(store.tasks), "seed": seed, "data": store.fingerprint()}
    settings = {"model": model, "pretrain": config, "made_from": made_from}
    weights = world_model_path(out)
    checkpoint = weights.with_name("checkpoint.safetensors")
    done = updates_done(checkpoint)
    if done:
        refuse_changes(out, settings)
    before = read_run_file(out).get("config", {})
    if "import" in before:
        raise PWMError(f"{out}: has an imported world model; use another --out")
    known = "pretrain" in before
    findings = as_facts(show(before_pretraining(store, model, config)))
    facts = {"command": command, "seed": seed, "data": data_facts(store), "tasks": task_facts(store)}
    record_step(out, "pretrain", settings, parts=description(device), findings=findings, **facts)
    if known and done >= config.updates and weights.exists():
        print(f"World model: skipped, pre-trained before ({done:,} updates, {weights})")
        return load_world_model(weights, device)
    if done:
        print(f"World model: resumes after update {done:,} of {config.updates:,}")
    flops = config.updates * world_model_update_flops(
        model, config.batch_size, config.horizon, len(store.tasks), store.observation_dim, store.action_dim
    )
    cure = "lower micro_batch, set recompute_steps, or choose a smaller size, with another --out"
    expected = partial(estimate_pretrain, store, model, config, device)
    with timed_step(out, "pretrain", clock or Stopwatch(out), flops, expected, device, done > 0, cure):
        return pretrain_world_model(store, out, model, config, seed, device)
