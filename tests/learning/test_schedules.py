"""Averages and the return scale: per member, and safe at the edges."""

import pytest
import torch

from pwm.learning.schedules import ReturnScale, average_into


def test_average_into():
    average, current = [torch.tensor([1.0]), torch.tensor([2.0])], [torch.tensor([2.0]), torch.tensor([4.0])]
    average_into(average, current, 0.75)
    assert [a.item() for a in average] == [1.25, 2.5] and [c.item() for c in current] == [2.0, 4.0]
    average_into(average, current, 0.0)
    assert [a.item() for a in average] == [2.0, 4.0]


def test_exponential_scale_forgets_at_its_decay():
    scale = ReturnScale(1, "exponential", 0.8)
    x = torch.randn(5, 1, 30) * torch.arange(1.0, 6.0).view(5, 1, 1) + 100.0
    for batch in x:
        scale.update(batch)
    weights = (0.8 ** torch.arange(4.0, -1.0, -1.0)).double().view(5, 1, 1).expand_as(x)
    x = x.double()
    mean = (x * weights).sum() / weights.sum()
    expected = (((x - mean) ** 2 * weights).sum() / weights.sum()).sqrt()
    torch.testing.assert_close(scale.std().double(), expected.view(1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["exponential", "cumulative"])
def test_equal_returns_give_a_small_but_finite_scale(kind):
    scale = ReturnScale(2, kind, 0.99)
    scale.update(torch.stack((torch.full((8,), 1e4 / 3), torch.arange(8.0))))
    torch.testing.assert_close(scale.std(), torch.tensor([1e-3, 5.25**0.5]))


def test_no_scale_is_one():
    scale = ReturnScale(2, "none", 0.99)
    scale.update(torch.randn(2, 9) * 50)
    assert torch.equal(scale.std(), torch.ones(2))
