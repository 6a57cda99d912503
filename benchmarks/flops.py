"""Arithmetic that an update needs, in FLOPs (a multiply-add is two): matrix products only.

These count what the algorithm needs and no more: a frozen world model has no weight gradients, the first layer of a
network whose input nobody differentiates has no input gradient, and a task's share of a first layer is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pwm.policy.config import PolicyConfig
from pwm.world_model.config import WorldModelConfig


def mlp_flops(rows: int, widths: Sequence[int]) -> int:
    """One forward pass of a perceptron with these layer widths: 2 * rows * sum of w_i * w_{i+1}.

    The gradient for all weights costs as much again, and so does the gradient for all inputs, the first layer's
    included.
    """
    return 2 * rows * sum(a * b for a, b in pairwise(widths))


def policy_update_flops(
    model: WorldModelConfig, config: PolicyConfig, members: int, observation_dim: int, action_dim: int
) -> int:
    """One update of a fleet, per member with B = batch_size, H = horizon, K critics:

    encoder B rows forward; dynamics and reward H*B rows forward and backward to inputs; actor H*B rows forward, weight
    gradients, and input gradients above the first layer; critics for the bootstrap B rows forward and backward to
    inputs; for the targets H*B rows forward; for regression passes * H*B rows forward, weight gradients, and input
    gradients above the first layer.
    """
    z, a = model.latent_dim, action_dim
    batch, rows = config.batch_size, config.batch_size * config.horizon
    actor = (z, *config.actor_units, a)
    critic = (z, *config.critic_units, 1)
    total = mlp_flops(batch, (observation_dim, *model.encoder_units, z))
    total += 2 * mlp_flops(rows, (z + a, *model.units, z))
    total += 2 * mlp_flops(rows, (z + a, *model.units, model.bins))
    total += 2 * mlp_flops(rows, actor)
    total += mlp_flops(rows, actor if not config.detach_actor_input else actor[1:])
    critics = 2 * mlp_flops(batch, critic) + mlp_flops(rows, critic)
    critics += config.critic_passes * (2 * mlp_flops(rows, critic) + mlp_flops(rows, critic[1:]))
    return members * (total + config.critics * critics)


def world_model_update_flops(
    model: WorldModelConfig, batch_size: int, horizon: int, tasks: int, observation_dim: int, action_dim: int
) -> int:
    """One gradient step on B slices of H transitions:

    encoder H*B rows forward for the targets, and B rows forward, weight gradients, and input gradients above the first
    layer; dynamics and reward H*B rows forward, weight and input gradients; the tasks' shares of the three first
    layers forward, weight and input gradients.
    """
    z, a, rows = model.latent_dim, action_dim, batch_size * horizon
    encoder = (observation_dim, *model.encoder_units, z)
    total = mlp_flops(rows, encoder) + 2 * mlp_flops(batch_size, encoder) + mlp_flops(batch_size, encoder[1:])
    total += 3 * mlp_flops(rows, (z + a, *model.units, z))
    total += 3 * mlp_flops(rows, (z + a, *model.units, model.bins))
    first = model.encoder_units[0] + 2 * model.units[0]
    return total + 3 * mlp_flops(tasks, (model.task_dim, first))


def action_flops(
    model: WorldModelConfig, config: PolicyConfig, rows: int, observation_dim: int, action_dim: int
) -> int:
    """Deterministic actions for `rows` observations: encoder and actor forward."""
    z = model.latent_dim
    encoder = mlp_flops(rows, (observation_dim, *model.encoder_units, z))
    return encoder + mlp_flops(rows, (z, *config.actor_units, action_dim))


def policy_update_bytes(model: WorldModelConfig, config: PolicyConfig, members: int) -> int:
    """Rough peak memory of a fleet's update: the activations that the backward pass through the rollout keeps.

    About four float32 numbers per unit of dynamics and reward and per latent entry, for every imagined step.
    """
    rows = members * config.batch_size * config.horizon
    return 16 * rows * (2 * sum(model.units) + 2 * model.latent_dim + model.bins + sum(config.actor_units))
