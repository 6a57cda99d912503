"""Measures accuracy and size of the simulator's gradients through the public environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pwm.tasks.locomotion.environment import LocomotionEnv, make_locomotion

_DIRECTIONS, _POINTS = 8, 8


def settled_state(name: str, rows: int, steps: int = 40, seed: int = 0, **settings: Any) -> dict[str, Tensor]:
    """The state of `rows` robots on the ground after some steps of random actions."""
    env = make_locomotion(name, rows, seed=seed, early_termination=False, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(steps):
            env.step(0.6 * torch.randn(rows, env.action_dim, generator=generator))
    return env.get_state()


def random_actions(steps: int, rows: int, action_dim: int, seed: int = 0) -> Tensor:
    """Uniform in [-0.5, 0.5], float32 [steps, rows, action_dim]: away from the bounds at which actions are clipped."""
    return torch.rand(steps, rows, action_dim, generator=torch.Generator().manual_seed(seed + 1)) - 0.5


def action_gradients(env: LocomotionEnv, state: dict[str, Tensor], actions: Tensor) -> Tensor:
    """Gradients of each row's return with respect to its actions [T, n, a], from `state`: [n, T * a]."""
    leaf = actions.clone().requires_grad_(True)
    _returns(env, state, leaf).sum().backward()
    return leaf.grad.transpose(0, 1).flatten(1)


def gradients_and_differences(
    name: str, steps: int, rows: int, epsilon: float, seed: int = 0, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Gradients of returns of `steps` steps, and central finite differences of step `epsilon`: each [rows, steps * a].

    Both start from `settled_state`. `settings` go to `make_locomotion`.
    """
    state = settled_state(name, rows, seed=seed, **settings)
    env = make_locomotion(name, rows, early_termination=False, **settings)
    actions = random_actions(steps, rows, env.action_dim, seed)
    ours = action_gradients(env, state, actions)
    entries = steps * env.action_dim
    moves = torch.eye(entries).view(entries, steps, env.action_dim).transpose(0, 1)
    return ours, _differences(name, state, actions, moves, epsilon, settings)


def slopes_and_differences(
    name: str, steps: int, rows: int, epsilon: float, seed: int = 0, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Slopes of returns along random vectors of -1 and 1, and difference quotients: each [rows, 8].

    Slopes are averages of gradients over 8 points between the two ends of a quotient, `epsilon` to either side,
    so by the fundamental theorem of calculus both agree even if many contacts begin or end in between. And unlike the
    entries of a gradient by a hundred weak actions, they are well above float32 rounding. States, `settings` as above.
    """
    state = settled_state(name, rows, seed=seed, **settings)
    env = make_locomotion(name, _DIRECTIONS * _POINTS, early_termination=False, **settings)
    actions = random_actions(steps, rows, env.action_dim, seed)
    generator = torch.Generator().manual_seed(seed + 2)
    along = torch.randint(0, 2, (steps, _DIRECTIONS, env.action_dim), generator=generator) * 2.0 - 1.0
    places = epsilon * ((2 * torch.arange(_POINTS) + 1) / _POINTS - 1)
    between = (along[:, :, None] * places[:, None]).flatten(1, 2)  # [T, 64, a]
    slopes = []
    for row in range(rows):
        found = action_gradients(env, _copies(state, row, env.num_envs), actions[:, row : row + 1] + between)
        found = found.view(_DIRECTIONS, _POINTS, -1).mean(dim=1)
        slopes.append((found * along.transpose(0, 1).flatten(1)).sum(dim=1))
    return torch.stack(slopes), _differences(name, state, actions, along, epsilon, settings)


def relative_errors(ours: Tensor, expected: Tensor) -> Tensor:
    """|ours - expected| / |expected| per row, [rows]."""
    return (ours - expected).norm(dim=1) / expected.norm(dim=1)


def gradient_norms(name: str, steps: int, rows: int = 64, seed: int = 0, **settings: Any) -> Tensor:
    """Norms of each row's gradient of the return of `steps` steps with respect to its actions, [rows]."""
    state = settled_state(name, rows, seed=seed, **settings)
    env = make_locomotion(name, rows, early_termination=False, **settings)
    return action_gradients(env, state, random_actions(steps, rows, env.action_dim, seed)).norm(dim=1)


@torch.no_grad()
def _differences(
    name: str, state: dict[str, Tensor], actions: Tensor, moves: Tensor, epsilon: float, settings: dict[str, Any]
) -> Tensor:
    """Central difference quotients of each row's return along the moves [T, m, a]: [rows, m]."""
    ends = epsilon * torch.cat([moves, -moves], dim=1)
    env = make_locomotion(name, ends.shape[1], early_termination=False, **settings)
    differences = []
    for row in range(actions.shape[1]):  # one at a time, to save memory
        returns = _returns(env, _copies(state, row, env.num_envs), actions[:, row : row + 1] + ends)
        ahead, behind = returns.chunk(2)
        differences.append((ahead - behind) / (2 * epsilon))
    return torch.stack(differences)


def _copies(state: dict[str, Tensor], row: int, count: int) -> dict[str, Tensor]:
    """The state of `count` robots like that of one row."""
    return {key: value[row].expand(count, *value.shape[1:]) if value.ndim else value for key, value in state.items()}


def _returns(env: LocomotionEnv, state: dict[str, Tensor], actions: Tensor) -> Tensor:
    env.set_state(state)
    return sum(env.step(action).reward for action in actions)
