"""PPO and SAC models from our settings, and their actors as deployed policies."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import nn

from pwm.agents.networks import ACTIVATIONS
from pwm.agents.perceptron_policy import KIND, BaselinePolicy
from pwm.agents.sb3.config import PPOConfig, SACConfig
from pwm.agents.sb3.environments import CountEpisodes
from pwm.runtime.config import to_dict

OBSERVATION_BOUND = 10.0
"""Normalised observations are clipped to this."""


def build_model(
    environments: VecEnv, config: PPOConfig | SACConfig, seed: int, device: torch.device | str
) -> BaseAlgorithm:
    """A new model on environments with normalised observations."""
    counted = CountEpisodes(environments)
    normalised = VecNormalize(
        counted, norm_reward=config.normalise_rewards, clip_obs=OBSERVATION_BOUND, gamma=config.gamma
    )
    build = _ppo if isinstance(config, PPOConfig) else _sac
    model = build(normalised, config, {"seed": seed, "device": device, "gamma": config.gamma})  # type: ignore[arg-type]
    model.set_logger(configure(None, []))
    return model


def _ppo(environments: VecNormalize, config: PPOConfig, common: dict[str, Any]) -> PPO:
    return PPO(
        "MlpPolicy",
        environments,
        learning_rate=lambda left: config.learning_rate * left,
        n_steps=config.horizon,
        batch_size=config.batch_size,
        n_epochs=config.passes,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.entropy_weight,
        vf_coef=config.value_weight,
        max_grad_norm=config.grad_norm,
        policy_kwargs={
            "net_arch": list(config.units),
            "activation_fn": ACTIVATIONS[config.activation],
            "log_std_init": config.initial_log_std,
        },
        **common,
    )


def _sac(environments: VecNormalize, config: SACConfig, common: dict[str, Any]) -> SAC:
    return SAC(
        "MlpPolicy",
        environments,
        learning_rate=config.learning_rate,
        buffer_size=config.buffer_size,
        learning_starts=config.random_steps,
        batch_size=config.batch_size,
        tau=config.target_rate,
        train_freq=1,
        gradient_steps=config.gradient_steps,
        policy_kwargs={"net_arch": list(config.units), "activation_fn": ACTIVATIONS[config.activation]},
        **common,
    )


@torch.no_grad()
def export_policy(
    model: BaseAlgorithm, task: str, seed: int, config: PPOConfig | SACConfig, simulator: dict[str, Any]
) -> BaselinePolicy:
    """The actor's mean with the observation moments frozen; it acts as `model.predict(..., deterministic=True)`."""
    policy: Any = model.policy
    if isinstance(model, SAC):
        algorithm, squash, layers = "sac", "tanh", [*policy.actor.latent_pi, policy.actor.mu]
    else:
        algorithm, squash, layers = "ppo", "clip", [*policy.mlp_extractor.policy_net, policy.action_net]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    about = {"kind": KIND, "algorithm": algorithm, "task": task, "seed": seed, "hidden": list(config.units)}
    about |= {"observation_dim": linear[0].in_features, "action_dim": linear[-1].out_features}
    about |= {"activation": config.activation, "layer_norm": False, "squash": squash, "config": to_dict(config)}
    about |= {"simulator": simulator, "updates": model._n_updates, "environment_steps": model.num_timesteps}
    deployed = BaselinePolicy(about)
    own = [layer for layer in deployed.net if isinstance(layer, nn.Linear)]
    for mine, theirs in zip(own, linear, strict=True):
        mine.load_state_dict(theirs.state_dict())
    moments: VecNormalize = model.get_vec_normalize_env()  # type: ignore[assignment]
    deployed.mean.copy_(torch.as_tensor(moments.obs_rms.mean))
    deployed.std.copy_(torch.as_tensor(moments.obs_rms.var + moments.epsilon).sqrt())
    deployed.bound.fill_(moments.clip_obs)
    return deployed
