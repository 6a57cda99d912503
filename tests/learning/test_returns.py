"""Discounted sums and lambda-returns against numbers worked out by hand."""

import torch

from pwm.learning.returns import discounted_return, lambda_returns

REWARDS = torch.tensor([[1.0], [2.0], [4.0]])
VALUES = torch.tensor([[10.0], [20.0], [40.0]])


def test_discounted_return_by_hand():
    # 1 + 0.5 * 2 + 0.25 * 4 + 0.125 * 40 = 8
    assert discounted_return(REWARDS, VALUES[-1], 0.5).item() == 8.0


def test_published_bootstrap_weighs_one_more_gamma():
    # 1 + 0.5 * 2 + 0.25 * 4 + 0.0625 * 40 = 5.5
    assert discounted_return(REWARDS, VALUES[-1], 0.5, bootstrap_exponent=1).item() == 5.5


def test_termination_cuts_rewards_and_bootstrap():
    # the episode ends with the second reward: 1 + 0.5 * 2
    continues = torch.tensor([[1.0], [0.0], [1.0]])
    assert discounted_return(REWARDS, VALUES[-1], 0.5, continues).item() == 2.0


def test_lambda_returns_by_hand():
    # G2 = 4 + .5*40 = 24; G1 = 2 + .5*(.75*20 + .25*24) = 12.5; G0 = 1 + .5*(.75*10 + .25*12.5) = 6.3125
    targets = lambda_returns(REWARDS, VALUES, 0.5, 0.25)
    assert targets.flatten().tolist() == [6.3125, 12.5, 24.0]


def test_lambda_returns_equal_the_weighted_sum_of_n_step_returns():
    torch.manual_seed(0)
    horizon, gamma, lam = 6, 0.9, 0.7
    r, v = torch.randn(horizon, 2).double(), torch.randn(horizon, 2).double()
    targets = lambda_returns(r, v, gamma, lam)
    for t in range(horizon):
        n_step = []
        for h in range(1, horizon - t + 1):
            total = sum(gamma**i * r[t + i] for i in range(h)) + gamma**h * v[t + h - 1]
            n_step.append(total)
        expected = (1 - lam) * sum(lam ** (h - 1) * g for h, g in enumerate(n_step[:-1], 1))
        expected = expected + lam ** (horizon - t - 1) * n_step[-1]
        torch.testing.assert_close(targets[t], expected)


def test_lambda_zero_is_one_step_td_and_lambda_one_is_monte_carlo():
    torch.testing.assert_close(lambda_returns(REWARDS, VALUES, 0.5, 0.0), REWARDS + 0.5 * VALUES)
    torch.testing.assert_close(lambda_returns(REWARDS, VALUES, 0.5, 1.0)[0], torch.tensor([8.0]))


def test_lambda_returns_with_termination():
    # the episode ends with the second reward: G1 = 2, G0 = 1 + .5*(.75*10 + .25*2) = 5
    continues = torch.tensor([[1.0], [0.0], [1.0]])
    assert lambda_returns(REWARDS, VALUES, 0.5, 0.25, continues).flatten().tolist() == [5.0, 2.0, 24.0]


def test_lambda_returns_with_an_episode_cut_off():
    # the episode is cut off after the second reward, whose state is worth 20: G1 = 2 + .5*20 = 12,
    # G0 = 1 + .5*(.75*10 + .25*12) = 6.25; the next episode's rewards do not matter
    ends = torch.tensor([[False], [True], [False]])
    assert lambda_returns(REWARDS, VALUES, 0.5, 0.25, None, ends).flatten().tolist() == [6.25, 12.0, 24.0]
