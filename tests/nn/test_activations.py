"""Mish and SimNorm against float64 textbook forms, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from pwm.nn.activations import mish, mish_and_slope, simnorm, simnorm_backward

POINTS = torch.cat((torch.linspace(-30, 30, 241), torch.tensor([-1e3, -100.0, 0.0, 50.0, 1e4])))


def textbook(x):
    x = x.double().requires_grad_(True)
    y = x * torch.tanh(F.softplus(x))
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]


def test_mish_and_its_slope_match_float64():
    y, slope = mish_and_slope(POINTS)
    expected, expected_slope = textbook(POINTS)
    torch.testing.assert_close(y.double(), expected, rtol=3e-6, atol=3e-6)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=3e-6, atol=3e-6)
    y, slope = mish_and_slope(POINTS.double())
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope, expected_slope, rtol=1e-12, atol=1e-12)


def test_mish_without_its_slope_has_the_same_bits():
    assert torch.equal(mish(POINTS), mish_and_slope(POINTS)[0])


def test_mish_leaves_its_input_alone_and_passes_nan():
    x = torch.randn(64)
    before = x.clone()
    mish(x), mish_and_slope(x)
    assert torch.equal(x, before)
    assert mish(torch.tensor([float("nan")])).isnan().all()


@pytest.mark.parametrize("group", [2, 8])
def test_simnorm_is_a_softmax_per_group(group):
    x = torch.randn(5, 32, dtype=torch.float64, requires_grad=True)
    y = simnorm(x, group)
    groups = 32 // group
    for g in range(groups):
        members = torch.arange(g, 32, groups)
        torch.testing.assert_close(y[:, members], torch.softmax(x[:, members], dim=-1))
        torch.testing.assert_close(y[:, members].sum(-1), torch.ones(5, dtype=torch.float64))
    weights = torch.randn(5, 32, dtype=torch.float64)
    (expected,) = torch.autograd.grad((y * weights).sum(), x)
    torch.testing.assert_close(simnorm_backward(weights, y.detach(), group), expected, rtol=1e-12, atol=1e-12)
