"""How right and how large the simulator's gradients are, measured through the public environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pwm.tasks.locomotion.environment import LocomotionEnv, make_locomotion


def settled_state(name: str, rows: int, steps: int = 40, seed: int = 0, **settings: Any) -> dict[str, Tensor]:
    """The state of `rows` robots that have fallen to the ground and flailed at random for some steps."""
    env = make_locomotion(name, rows, seed=seed, early_termination=False, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(steps):
            env.step(0.6 * torch.randn(rows, env.action_dim, generator=generator))
    return env.get_state()


def random_actions(steps: int, rows: int, action_dim: int, seed: int = 0) -> Tensor:
    """Uniform in [-0.5, 0.5], float32 [steps, rows, action_dim]: far from the bounds, where actions are clipped."""
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
    moves = epsilon * torch.eye(entries).view(entries, steps, env.action_dim).transpose(0, 1)
    moves = torch.cat([moves, -moves], dim=1)  # [T, 2 entries, a]
    wide = make_locomotion(name, 2 * entries, early_termination=False, **settings)
    differences = []
    with torch.no_grad():
        for row in range(rows):  # one after the other, for the memory's sake
            copies = {
                key: value[row].expand(2 * entries, *value.shape[1:]) for key, value in state.items() if value.ndim
            }
            ahead, behind = _returns(wide, state | copies, actions[:, row : row + 1] + moves).view(2, entries)
            differences.append((ahead - behind) / (2 * epsilon))
    return ours, torch.stack(differences)


def relative_errors(ours: Tensor, expected: Tensor) -> Tensor:
    """|ours - expected| / |expected| per row, [rows]."""
    return (ours - expected).norm(dim=1) / expected.norm(dim=1)


def gradient_norms(name: str, steps: int, rows: int = 64, seed: int = 0, **settings: Any) -> Tensor:
    """Norms of each row's gradient of the return of `steps` steps with respect to its actions, [rows]."""
    state = settled_state(name, rows, seed=seed, **settings)
    env = make_locomotion(name, rows, early_termination=False, **settings)
    return action_gradients(env, state, random_actions(steps, rows, env.action_dim, seed)).norm(dim=1)


def _returns(env: LocomotionEnv, state: dict[str, Tensor], actions: Tensor) -> Tensor:
    env.set_state(state)
    return sum(env.step(action).reward for action in actions)
