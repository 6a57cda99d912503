"""The two-hot code: round trip, placement, cross-entropy and its gradient."""

import math

import pytest
import torch
import torch.nn.functional as F

from pwm.nn.two_hot import TwoHot, symexp, symlog

CODE = TwoHot()


def test_symlog_and_symexp_are_inverse():
    x = torch.tensor([-500.0, -2.0, -0.1, 0.0, 0.3, 1.0, 900.0], dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(x)), x)
    torch.testing.assert_close(symlog(torch.tensor(torch.e - 1.0)), torch.tensor(1.0))


def test_encode_by_hand():
    # symlog(x) = 0.25 lies a quarter of the way from bin 51 (0.2) to bin 52 (0.4)
    target = CODE.encode(symexp(torch.tensor(0.25, dtype=torch.float64)))
    assert target.nonzero().flatten().tolist() == [51, 52]
    torch.testing.assert_close(target[51:53], torch.tensor([0.75, 0.25], dtype=torch.float64))


@pytest.mark.parametrize("space", ["true", "symlog"])
def test_round_trip(space):
    x = torch.tensor([-1e3, -1.0, 0.0, 1e-3, 0.5, 2.0, 20.0], dtype=torch.float64)
    logits = torch.log(CODE.encode(x).clamp(min=1e-300))
    back = CODE.decode(logits, space)
    torch.testing.assert_close(back, x if space == "true" else symlog(x), rtol=1e-9, atol=1e-9)


def test_values_beyond_the_grid_are_clamped():
    target = CODE.encode(torch.tensor([1e9, -1e9]))
    assert torch.equal(target, torch.eye(101)[[100, 0]])


def test_cross_entropy_of_targets_placed_by_hand():
    torch.manual_seed(0)
    logits = torch.randn(2, 101, dtype=torch.float64, requires_grad=True)
    # symlog(x) = 0.25 and -3.1: a quarter of the way from bin 51 (0.2) to 52, half-way from bin 34 (-3.2) to 35
    x = torch.tensor([math.exp(0.25) - 1, 1 - math.exp(3.1)], dtype=torch.float64)
    target = torch.zeros(2, 101, dtype=torch.float64)
    target[0, 51:53], target[1, 34:36] = torch.tensor([0.75, 0.25]), 0.5
    ours, theirs = CODE.cross_entropy(logits, x), F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("space", ["true", "symlog"])
def test_decode_gradient(space):
    logits = torch.randn(3, 101, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: CODE.decode(t, space), logits)
