"""Mish and SimNorm against float64 textbook forms, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from pwm.nn.activations import mish, simnorm

POINTS = torch.cat((torch.linspace(-30, 30, 241), torch.tensor([-1e3, -100.0, 0.0, 50.0, 1e4])))


def test_mish_matches_float64():
    x = POINTS.clone().requires_grad_(True)
    y = mish(x)
    y.sum().backward()
    reference = POINTS.double().requires_grad_(True)
    expected = reference * torch.tanh(F.softplus(reference))
    expected.sum().backward()
    torch.testing.assert_close(y.double(), expected, rtol=3e-6, atol=3e-6)
    torch.testing.assert_close(x.grad.double(), reference.grad, rtol=3e-6, atol=3e-6)


def test_mish_without_gradient_takes_another_way_to_the_same_values():
    x = POINTS.clone()
    with_gradient = mish(x.requires_grad_(True)).detach()
    with torch.no_grad():
        torch.testing.assert_close(mish(x), with_gradient, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(mish(POINTS), with_gradient, rtol=1e-6, atol=1e-7)


def test_mish_gradcheck():
    x = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mish, x)


def test_mish_leaves_its_input_alone_and_passes_nan():
    x = torch.randn(64)
    before = x.clone()
    mish(x)
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
    assert torch.autograd.gradcheck(lambda t: simnorm(t, group), x)
