"""The two-hot code: round trip, placement, cross-entropy and its gradient."""

import pytest
import torch

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


def test_cross_entropy_equals_the_dense_form():
    torch.manual_seed(0)
    logits = torch.randn(7, 101, dtype=torch.float64, requires_grad=True)
    x = torch.randn(7, dtype=torch.float64) * 5
    ours = CODE.cross_entropy(logits, x)
    dense = -(CODE.encode(x) * torch.log_softmax(logits, -1)).sum(-1)
    torch.testing.assert_close(ours, dense)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    torch.testing.assert_close(gradient, torch.softmax(logits, -1) - CODE.encode(x))


@pytest.mark.parametrize("space", ["true", "symlog"])
def test_decode_gradient(space):
    logits = torch.randn(3, 101, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: CODE.decode(t, space), logits)
