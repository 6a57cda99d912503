"""Returns of training episodes: rows end at different times, and only the last 64 episodes count."""

import torch

from pwm.acting.episode_statistics import EpisodeStatistics


def test_returns_and_lengths_by_hand():
    statistics = EpisodeStatistics(2)
    assert statistics.values() == {}
    rewards = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    terminated = torch.tensor([[False, False], [True, False], [False, False]])
    truncated = torch.tensor([[False, False], [False, False], [False, True]])
    statistics.update(rewards, terminated, truncated)  # episodes of return 3 (2 steps) and 60 (3 steps)
    assert statistics.values() == {"return": 31.5, "episode_length": 2.5, "episodes": 2}
    statistics.update(torch.tensor([[4.0, 0.0]]), torch.tensor([[True, False]]), torch.tensor([[False, False]]))
    assert statistics.values() == {"return": (3 + 60 + 7) / 3, "episode_length": 7 / 3, "episodes": 3}


def test_the_last_64_episodes_count_however_many_end_at_once():
    statistics, ends = EpisodeStatistics(100), torch.ones(1, 100, dtype=torch.bool)
    for base in (1000.0, 0.0):
        statistics.update(base + torch.arange(100.0)[None], ends, ~ends)
    expected = sum(range(36, 100)) / 64
    assert statistics.values() == {"return": expected, "episode_length": 1.0, "episodes": 200}
