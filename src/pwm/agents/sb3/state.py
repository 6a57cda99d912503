"""The complete training state of a Stable-Baselines3 model as plain tensors; nothing is pickled."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from pwm.agents.sb3.environments import CountEpisodes
from pwm.runtime.checkpoint import load_module, load_optimiser, module_tensors, optimiser_tensors
from pwm.runtime.files import PathLike
from pwm.tasks.vector import DifferentiableEnvironment

_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def training_state(model: BaseAlgorithm) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, plain values) of a model between two iterations, including environments and random generators."""
    tensors = module_tensors(model.policy, "policy")
    for name, optimiser in _optimisers(model).items():
        tensors |= optimiser_tensors(optimiser, name)
    normaliser, counter, base = _layers(model)
    for name, moments in (("obs_rms", normaliser.obs_rms), ("ret_rms", normaliser.ret_rms)):
        for part in ("mean", "var", "count"):
            tensors[f"{name}.{part}"] = torch.as_tensor(np.asarray(getattr(moments, part), np.float64))
    tensors["returns"] = torch.as_tensor(normaliser.returns)
    tensors["old_obs"] = torch.as_tensor(normaliser.old_obs)
    tensors |= module_tensors(counter.statistics, "episodes")
    tensors |= {"last_obs": torch.as_tensor(model._last_obs), "starts": torch.as_tensor(model._last_episode_starts)}
    if isinstance(base.environment, DifferentiableEnvironment):
        tensors |= {f"environment.{name}": value for name, value in base.environment.get_state().items()}
    tensors["torch_random"] = torch.get_rng_state()
    numpy_state: Any = np.random.get_state()
    tensors["numpy_random"] = torch.as_tensor(numpy_state[1].astype(np.int64))
    values = {
        "steps": model.num_timesteps,
        "gradient_steps": model._n_updates,
        "numpy_random": [numpy_state[0], *numpy_state[2:]],
        "action_random": json.dumps(model.action_space.np_random.bit_generator.state),
    }
    if isinstance(model, SAC):
        buffer = model.replay_buffer
        rows = buffer.buffer_size if buffer.full else buffer.pos
        tensors |= {f"buffer.{name}": torch.as_tensor(getattr(buffer, name)[:rows]) for name in _BUFFER}
        tensors["log_ent_coef"] = model.log_ent_coef.detach()
        tensors["last_original_obs"] = torch.as_tensor(model._last_original_obs)
        values |= {"buffer_position": buffer.pos, "buffer_full": buffer.full}
    return tensors, values


def restore_training_state(
    model: BaseAlgorithm, tensors: dict[str, Tensor], values: dict[str, Any], path: PathLike
) -> None:
    """Restore what `training_state` returned, in a model with the same settings.

    Environments whose state cannot be saved (all but the differentiable ones) start new episodes.
    """
    load_module(model.policy, "policy", tensors, path)
    for name, optimiser in _optimisers(model).items():
        load_optimiser(optimiser, name, tensors)
    normaliser, counter, base = _layers(model)
    for name, moments in (("obs_rms", normaliser.obs_rms), ("ret_rms", normaliser.ret_rms)):
        for part in ("mean", "var", "count"):
            value = tensors[f"{name}.{part}"].numpy()
            setattr(moments, part, value.copy() if value.ndim else float(value))
    load_module(counter.statistics, "episodes", tensors, path)
    model.num_timesteps, model._n_updates = values["steps"], values["gradient_steps"]
    if isinstance(base.environment, DifferentiableEnvironment):
        prefix = "environment."
        state = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        base.environment.set_state(state)
        model._last_obs = tensors["last_obs"].numpy().copy()
        model._last_episode_starts = tensors["starts"].numpy().copy()
        normaliser.returns, normaliser.old_obs = tensors["returns"].numpy().copy(), tensors["old_obs"].numpy().copy()
    if isinstance(model, SAC):
        _restore_sac(model, tensors, values)
    kind, *rest = values["numpy_random"]
    np.random.set_state((kind, tensors["numpy_random"].numpy().astype(np.uint32), *rest))
    model.action_space.np_random.bit_generator.state = json.loads(values["action_random"])
    torch.set_rng_state(tensors["torch_random"])


def _restore_sac(model: SAC, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    buffer = model.replay_buffer
    for name in _BUFFER:
        rows = tensors[f"buffer.{name}"].numpy()
        getattr(buffer, name)[: len(rows)] = rows
    buffer.pos, buffer.full = values["buffer_position"], values["buffer_full"]
    with torch.no_grad():
        model.log_ent_coef.copy_(tensors["log_ent_coef"])
    if model._last_obs is not None:
        model._last_original_obs = tensors["last_original_obs"].numpy().copy()


def _optimisers(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    if isinstance(model, SAC):
        return {
            "actor_adam": model.actor.optimizer,
            "critic_adam": model.critic.optimizer,
            "temperature_adam": model.ent_coef_optimizer,
        }
    return {"adam": model.policy.optimizer}


def _layers(model: BaseAlgorithm) -> tuple[VecNormalize, CountEpisodes, Any]:
    normaliser = model.get_vec_normalize_env()
    return normaliser, normaliser.venv, normaliser.venv.venv  # type: ignore[union-attr, return-value]
