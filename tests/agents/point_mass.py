"""A differentiable environment small enough to solve by hand: a point on a line, pushed to the origin.

x' = x + DT v, v' = v + DT u with u = FORCE a; the reward is 1 - x'^2 - 0.1 v'^2 - 0.01 a^2. Beyond |x| = 2 the episode
terminates. The cost is quadratic and the dynamics linear, so Riccati's equation gives the best policy.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pwm.tasks.vector import Step

DT, FORCE, LIMIT = 0.1, 4.0, 2.0
Q, R = np.diag([1.0, 0.1]), np.array([[0.01]])
A = np.array([[1.0, DT], [0.0, 1.0]])
B = np.array([[0.0], [DT * FORCE]])


class PointMass:
    """Follows the contract of the locomotion environments."""

    observation_dim, action_dim = 2, 1
    device = torch.device("cpu")

    def __init__(self, num_envs: int = 64, seed: int = 0, episode_length: int = 50, dtype=torch.float32) -> None:
        self.num_envs, self.episode_length, self.dtype = num_envs, episode_length, dtype
        self.generator = torch.Generator().manual_seed(seed)
        self.state, self.time = torch.zeros(num_envs, 2, dtype=dtype), torch.zeros(num_envs, dtype=torch.long)

    def _starts(self) -> Tensor:
        spread = torch.tensor([1.0, 0.5], dtype=self.dtype)
        return (2 * torch.rand(self.num_envs, 2, generator=self.generator, dtype=self.dtype) - 1) * spread

    def reset(self, seed: int | None = None) -> Tensor:
        if seed is not None:
            self.generator.manual_seed(seed)
        self.state, self.time = self._starts(), torch.zeros(self.num_envs, dtype=torch.long)
        return self.state

    def detach(self) -> Tensor:
        self.state = self.state.detach()
        return self.state

    def step(self, actions: Tensor) -> Step:
        a = actions.clamp(-1, 1)[:, 0]
        x = self.state[:, 0] + DT * self.state[:, 1]
        v = self.state[:, 1] + DT * FORCE * a
        state = torch.stack((x, v), dim=1)
        reward = 1 - x.square() - 0.1 * v.square() - 0.01 * a.square()
        self.time = self.time + 1
        terminated = x.detach().abs() > LIMIT
        truncated = (self.time >= self.episode_length) & ~terminated
        done = terminated | truncated
        self.state = torch.where(done[:, None], self._starts(), state)
        self.time = torch.where(done, 0, self.time)
        return Step(self.state, reward, terminated, truncated, state)

    def get_state(self) -> dict[str, Tensor]:
        return {"state": self.state.detach().clone(), "time": self.time, "random": self.generator.get_state()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        self.state, self.time = state["state"].clone(), state["time"].clone()
        self.generator.set_state(state["random"])


def best_gain() -> np.ndarray:
    """The gain K [1, 2] of the best unbounded policy a = -K s without a discount (Riccati iteration)."""
    # The cost is on the next state, x' and v': s'Qs' + a'Ra with s' = A s + B a.
    p = np.zeros((2, 2))
    for _ in range(2000):
        m = Q + p
        k = np.linalg.solve(R + B.T @ m @ B, B.T @ m @ A)
        p = A.T @ m @ (A - B @ k)
    return k


def best_return(episodes: int = 256, length: int = 50, seed: int = 1) -> float:
    """Mean return of the best gain, with its actions clipped to [-1, 1]."""
    env = PointMass(episodes, seed, length)
    obs, total = env.reset(), torch.zeros(episodes)
    gain = torch.as_tensor(best_gain(), dtype=torch.float32)
    for _ in range(length):
        step = env.step((-obs @ gain.T).clamp(-1, 1))
        total, obs = total + step.reward, step.obs
    return float(total.mean())
