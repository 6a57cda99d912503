"""Returns and lengths of the episodes played in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WINDOW = 64


class EpisodeStatistics(nn.Module):
    """Sums rewards of n environments per episode, and keeps the last 64 finished episodes.

    A module, so that its buffers are part of checkpoints. They stay on the CPU; each `update` syncs once with a GPU.
    """

    def __init__(self, num_envs: int) -> None:
        super().__init__()
        self.register_buffer("running", torch.zeros(2, num_envs, dtype=torch.float64))
        """return and length so far [2, n]"""
        self.register_buffer("finished", torch.zeros(2, _WINDOW, dtype=torch.float64))
        """return and length of the last episodes, a ring buffer"""
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        """number of episodes finished"""

    @torch.no_grad()
    def update(self, rewards: Tensor, terminated: Tensor, truncated: Tensor) -> None:
        """Add steps [H, n]."""
        for reward, done in zip(rewards.double().cpu(), (terminated | truncated).cpu(), strict=True):
            self.running += torch.stack((reward, torch.ones_like(reward)))
            if not done.any():
                continue
            self.count += int(done.sum())
            ended = self.running[:, done][:, -_WINDOW:]
            back = torch.arange(ended.shape[1], 0, -1)
            self.finished[:, (self.count - back) % _WINDOW] = ended
            self.running[:, done] = 0.0

    def values(self) -> dict[str, float]:
        """Mean `return` and `episode_length` of the last 64 episodes, and the number of `episodes`; at first empty."""
        count = int(self.count)
        if not count:
            return {}
        returns, lengths = self.finished[:, : min(count, _WINDOW)].mean(dim=1).tolist()
        return {"return": returns, "episode_length": lengths, "episodes": count}
