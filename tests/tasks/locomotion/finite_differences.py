"""Gradients of returns with respect to actions beside central finite differences, through the public environment."""

import torch

from pwm.tasks.locomotion.environment import make_locomotion


def settled_state(name, rows, steps=40, **kwargs):
    """The state of `rows` environments that have fallen and flailed for some steps."""
    env = make_locomotion(name, rows, early_termination=False, **kwargs)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(steps):
            env.step((0.6 * torch.randn(rows, env.action_dim, generator=generator)).clamp(-1, 1))
    assert env.bad_rows == 0
    return env.get_state()


def returns(env, state, actions):
    """[n]: summed rewards of actions [T, n, a] from `state`."""
    env.set_state(state)
    return sum(env.step(action).reward for action in actions)


def compare(name, steps, rows=8, epsilon=2e-3, **kwargs):
    """(ours, finite differences), each [rows, steps * a]: gradients of the return of `steps` steps."""
    state = settled_state(name, rows, **kwargs)
    env = make_locomotion(name, rows, early_termination=False, **kwargs)
    generator = torch.Generator().manual_seed(1)
    actions = torch.rand(steps, rows, env.action_dim, generator=generator) - 0.5
    leaf = actions.clone().requires_grad_(True)
    returns(env, state, leaf).sum().backward()
    entries = steps * env.action_dim
    ours = leaf.grad.permute(1, 0, 2).reshape(rows, entries)
    lanes = 2 * entries
    wide = make_locomotion(name, rows * lanes, early_termination=False, **kwargs)
    spread = {k: v.repeat_interleave(lanes, 0) if v.ndim else v for k, v in state.items()}
    moved = actions[:, :, None].repeat(1, 1, lanes, 1)
    for entry in range(entries):
        step, joint = divmod(entry, env.action_dim)
        moved[step, :, 2 * entry, joint] += epsilon
        moved[step, :, 2 * entry + 1, joint] -= epsilon
    with torch.no_grad():
        found = returns(wide, spread, moved.flatten(1, 2)).view(rows, entries, 2)
    return ours, (found[..., 0] - found[..., 1]) / (2 * epsilon)


def relative_errors(ours, expected):
    """[rows]"""
    return (ours - expected).norm(dim=1) / expected.norm(dim=1)
