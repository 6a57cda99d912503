"""Backward passes that are written out by hand, against autograd on the plain form of the same networks."""

import pytest
import torch
import torch.nn.functional as F

from pwm.nn.perceptron import ConditionedMLP, FleetMLP
from pwm.nn.products import set_precision

EXACT = {"rtol": 1e-11, "atol": 1e-11}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def randomised(net):
    for i, parameter in enumerate(net.parameters()):
        parameter.data = 0.5 * noise(*parameter.shape, seed=i) + 0.1
    return net


def plain_mish(x):
    return x * torch.tanh(F.softplus(x))


def plain_conditioned(net, x, context):
    last = len(net.linears) - 1
    for i, linear in enumerate(net.linears):
        x = x @ linear.weight[:, : net.inputs].T + context if i == 0 else linear(x)
        if i < len(net.norms):
            x = net.norms[i](x)
        if i < last:
            x = plain_mish(x)
        elif net.simnorm_group:
            x = torch.softmax(x.unflatten(-1, (net.simnorm_group, -1)), dim=-2).flatten(-2)
    return x


def plain_fleet(net, x):
    x = x.repeat_interleave(net.members // len(x), dim=0)
    for i in range(len(net.weights)):
        x = x @ net.weights[i] + net.biases[i]
        if i < len(net.gains):
            x = F.layer_norm(plain_mish(x), x.shape[-1:]) * net.gains[i] + net.shifts[i]
    return x


def same_gradients(function, plain, leaves, tolerance):
    results = []
    for run in (function, plain):
        out = run()
        grads = torch.autograd.grad((out * noise(*out.shape, seed=9).to(out.dtype)).sum(), leaves)
        results.append([out.detach(), *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("rows", [(7,), (5, 7)])
def test_conditioned(group, rows):
    net = randomised(ConditionedMLP(5, 3, (16, 12), 8, group).double())
    x, e = noise(*rows, 5, seed=20).requires_grad_(True), noise(7, 3, seed=21).requires_grad_(True)
    leaves = [x, e, *net.parameters()]
    same_gradients(lambda: net(x, net.context(e)), lambda: plain_conditioned(net, x, net.context(e)), leaves, EXACT)


@pytest.mark.parametrize("groups", [6, 2, 1])
@pytest.mark.parametrize("hidden", [(10, 8), (10,), ()])
def test_fleet(groups, hidden):
    net = randomised(FleetMLP(6, 5, hidden, 4).double())
    x = noise(groups, 7, 5, seed=20).requires_grad_(True)
    same_gradients(lambda: net(x), lambda: plain_fleet(net, x), [x, *net.parameters()], EXACT)


def test_many_calls_share_one_gradient_of_the_weights(monkeypatch):
    """Steps of a rollout, with products of gathered gradients now and then or at the end alone."""
    net, actor = randomised(ConditionedMLP(6, 3, (16, 12), 4, 2).double()), randomised(FleetMLP(2, 4, (8,), 2).double())
    e, start = noise(7, 3, seed=21), noise(2, 7, 4, seed=22).requires_grad_(True)

    def rollout(step, act):
        z, context = start, net.context(e)
        for _ in range(5):
            z = step(torch.cat((z, act(z)), dim=-1), context) + 0.1 * z
        return z

    for rows in (1, 20, 1024):
        monkeypatch.setattr("pwm.nn.products._ROWS", rows)

        def shared():
            ours, theirs = net.share(), actor.share()
            return rollout(lambda x, c: net(x, c, ours), lambda z: actor(z, theirs))

        def plain():
            return rollout(lambda x, c: plain_conditioned(net, x, c), lambda z: plain_fleet(actor, z))

        same_gradients(shared, plain, [start, *net.parameters(), *actor.parameters()], EXACT)


def test_only_what_is_asked_for_is_computed_and_kept():
    net = randomised(ConditionedMLP(6, 3, (16, 12), 4, 2).double())
    x, context = noise(7, 6, seed=20), noise(16, seed=21)
    net.requires_grad_(False)
    assert not net(x, context).requires_grad
    out = net(x.requires_grad_(True), context)
    shared = out.grad_fn.shared.gathered
    torch.autograd.grad(out.sum(), x)
    assert all(gathered.take() is None for gathered in shared)
    net.requires_grad_(True)
    with torch.no_grad():
        assert net(x, context).grad_fn is None
    net(x, context).sum().backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(plain_conditioned(net, x, context).sum(), x)[0], **EXACT)


def test_a_weight_that_changed_before_the_backward_pass_is_noticed():
    net = randomised(FleetMLP(2, 5, (10, 8), 4))
    net.float()
    out = net(noise(2, 7, 5).float())
    with torch.no_grad():
        net.weights[0].mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("kind", ["conditioned", "fleet"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_lower_precisions_stay_near_float64(kind, precision):
    """Rows and widths that reach the fast kernels."""
    if kind == "fleet":
        net = randomised(FleetMLP(3, 96, (160, 80), 4).double())
        for member in range(3):
            net.init_orthogonal(member, 1.4, 1.0, torch.Generator().manual_seed(member))
        x = noise(1, 256, 96, seed=20)
        run = lambda net, x: net(x)  # noqa: E731
    else:
        net = ConditionedMLP(96, 3, (160, 160), 64, 8).double()
        x, context = noise(256, 96, seed=20), noise(160, seed=21)
        run = lambda net, x: net(x, context.to(x.dtype))  # noqa: E731

    def gradients(dtype, precision):
        net.to(dtype)
        set_precision(net, precision)
        leaf = x.to(dtype).requires_grad_(True)
        out = run(net, leaf)
        wanted = [leaf, *net.parameters()]
        grads = torch.autograd.grad((out * noise(*out.shape, seed=9).to(dtype)).sum(), wanted, materialize_grads=True)
        return [out.detach(), *grads]

    exact, low = gradients(torch.float64, "float32"), gradients(torch.float32, precision)
    limit = 1e-5 if precision == "float32" else 2e-2
    for a, b in zip(exact, low, strict=True):
        assert b.dtype == torch.float32
        if a.norm() > 0:
            assert float((a - b.double()).norm() / a.norm()) < limit
            assert F.cosine_similarity(a.flatten(), b.double().flatten(), dim=0) > 0.999


def test_no_rows_have_no_gradient():
    net = randomised(FleetMLP(2, 3, (4, 5), 1)).float()
    net(torch.zeros(2, 0, 3)).sum().backward()
    assert all(not parameter.grad.any() for parameter in net.parameters())
