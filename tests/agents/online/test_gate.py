"""The gate between what was learned and what is kept."""

from __future__ import annotations

import torch

from pwm.agents.online.gate import Gate


def test_a_policy_passes_within_a_share_of_the_range_below_the_best_round():
    gate = Gate(0.1)
    rounds = [[100.0, -50.0], [900.0, -10.0], [819.0, -10.0], [821.0, -15.0], [500.0, -13.9]]
    passed = [gate.judge(torch.tensor(row)).tolist() for row in rounds]
    # ranges of 800 and 40: the marks are 820 and -14
    assert passed == [[True, True], [True, True], [False, True], [True, False], [False, True]]


def test_its_ends_are_a_new_best_and_everything():
    returns = torch.tensor([[1.0], [3.0], [2.9], [3.0], [0.5], [3.1]])
    strict, open_ = Gate(0.0), Gate(1.0)
    assert [bool(strict.judge(x)) for x in returns] == [True, True, False, True, False, True]
    assert all(open_.judge(x) for x in returns)


def test_it_goes_on_from_the_rounds_before():
    whole, first = Gate(0.2), Gate(0.2)
    returns = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    expected = [whole.judge(x).tolist() for x in returns]
    begun = [first.judge(x).tolist() for x in returns[:3]]
    rest = Gate(0.2, first.rounds)
    assert begun + [rest.judge(x).tolist() for x in returns[3:]] == expected
