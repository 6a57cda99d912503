"""Averages and the return scale: per member, and safe at the edges."""

import pytest
import torch

from pwm.learning.schedules import ReturnScale, average_into, linear_decay


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


@pytest.mark.parametrize("kind", ["cumulative", "exponential"])
def test_return_scale(kind):
    scale = ReturnScale(2, kind, 0.5)
    assert torch.equal(scale.std(), torch.ones(2))
    a, b = torch.randn(2, 50), torch.randn(2, 50) * 4 + 9
    scale.update(a)
    torch.testing.assert_close(scale.std(), a.std(dim=1, unbiased=False), rtol=1e-5, atol=1e-6)
    scale.update(b)
    weights = torch.cat((torch.full((50,), 1.0 if kind == "cumulative" else 0.5), torch.ones(50)))
    x = torch.cat((a, b), dim=1)
    mean = (x * weights).sum(1) / weights.sum()
    std = (((x - mean[:, None]) ** 2 * weights).sum(1) / weights.sum()).sqrt()
    torch.testing.assert_close(scale.std(), std, rtol=1e-5, atol=1e-6)


def test_linear_decay():
    assert [linear_decay(1.0, 0.0, step, 5) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
