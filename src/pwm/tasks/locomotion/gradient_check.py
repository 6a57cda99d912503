"""Measures accuracy and size of the simulator's gradients through the public environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pwm.tasks.locomotion.environment import LocomotionEnv, make_locomotion


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
    moves = epsilon * torch.eye(entries).view(entries, steps, env.action_dim).transpose(0, 1)
    moves = torch.cat([moves, -moves], dim=1)  # [T, 2 entries, a]
    wide = make_locomotion(name, 2 * entries, early_termination=False, **settings)
    differences = []
    with torch.no_grad():
        for row in range(rows):  # one at a time, to save memory
            copies = _copies(state, row, 2 * entries)
            ahead, behind = _returns(wide, copies, actions[:, row : row + 1] + moves).view(2, entries)
            differences.append((ahead - behind) / (2 * epsilon))
    return ours, torch.stack(differences)


def slopes_and_differences(
    name: str,
    steps: int,
    rows: int,
    epsilon: float,
    seed: int = 0,
    directions: int = 8,
    points: int = 8,
    **settings: Any,
) -> tuple[Tensor, Tensor]:
    """Slopes of returns along random vectors of -1 and 1, and difference quotients: each [rows, directions].

    Slopes are averages of gradients over `points` points between the two ends of a quotient, `epsilon` to either side,
    so by the fundamental theorem of calculus both agree even if many contacts begin or end in between. And unlike the
    entries of a gradient by a hundred weak actions, they are well above float32 rounding. States, `settings` as above.
    """
    state = settled_state(name, rows, seed=seed, **settings)
    inner = make_locomotion(name, directions * points, early_termination=False, **settings)
    outer = make_locomotion(name, 2 * directions, early_termination=False, **settings)
    size = inner.action_dim
    actions = random_actions(steps, rows, size, seed)
    along = (
        torch.randint(0, 2, (steps, directions, size), generator=torch.Generator().manual_seed(seed + 2)) * 2.0 - 1.0
    )
    places = epsilon * ((2 * torch.arange(points) + 1) / points - 1)
    between = (along[:, :, None] * places[:, None]).flatten(1, 2)  # [T, directions * points, a]
    ends = epsilon * torch.cat([along, -along], dim=1)
    slopes, differences = [], []
    for row in range(rows):
        centre = actions[:, row : row + 1]
        found = action_gradients(inner, _copies(state, row, directions * points), centre + between)
        found = found.view(directions, points, -1).mean(dim=1)
        slopes.append((found * along.transpose(0, 1).flatten(1)).sum(dim=1))
        with torch.no_grad():
            ahead, behind = _returns(outer, _copies(state, row, 2 * directions), centre + ends).view(2, directions)
        differences.append((ahead - behind) / (2 * epsilon))
    return torch.stack(slopes), torch.stack(differences)


def relative_errors(ours: Tensor, expected: Tensor) -> Tensor:
    """|ours - expected| / |expected| per row, [rows]."""
    return (ours - expected).norm(dim=1) / expected.norm(dim=1)


def gradient_norms(name: str, steps: int, rows: int = 64, seed: int = 0, **settings: Any) -> Tensor:
    """Norms of each row's gradient of the return of `steps` steps with respect to its actions, [rows]."""
    state = settled_state(name, rows, seed=seed, **settings)
    env = make_locomotion(name, rows, early_termination=False, **settings)
    return action_gradients(env, state, random_actions(steps, rows, env.action_dim, seed)).norm(dim=1)


def _copies(state: dict[str, Tensor], row: int, count: int) -> dict[str, Tensor]:
    """The state of `count` robots like that of one row."""
    return {key: value[row].expand(count, *value.shape[1:]) if value.ndim else value for key, value in state.items()}


def _returns(env: LocomotionEnv, state: dict[str, Tensor], actions: Tensor) -> Tensor:
    env.set_state(state)
    return sum(env.step(action).reward for action in actions)
