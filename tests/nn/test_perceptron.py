"""The conditioned perceptron equals a plain one on concatenated inputs; a fleet equals its members one by one."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from pwm.nn.perceptron import ConditionedMLP, FleetMLP, init_truncated_normal
from pwm.runtime.errors import PWMError


def test_conditioned_mlp_equals_concatenation():
    torch.manual_seed(0)
    mlp = ConditionedMLP(5, 3, (16, 12), 8, simnorm_group=4).double()
    x, e = torch.randn(4, 5).double(), torch.randn(4, 3).double()
    h = torch.cat((x, e), dim=-1)
    for i, linear in enumerate(mlp.linears):
        h = mlp.norms[i](linear(h))
        if i < 2:
            h = h * torch.tanh(F.softplus(h))
    expected = torch.empty_like(h)
    for g in range(2):
        expected[:, g::2] = torch.softmax(h[:, g::2], -1)
    torch.testing.assert_close(mlp(x, mlp.context(e)), expected)


def test_truncated_normal_initialisation():
    mlp = ConditionedMLP(64, 32, (256,), 64)
    init_truncated_normal(mlp, 0.02, torch.Generator().manual_seed(1))
    weight = mlp.linears[0].weight
    assert weight.abs().max() <= 0.04 and 0.015 < weight.std() < 0.02
    assert not mlp.linears[0].bias.any()
    again = ConditionedMLP(64, 32, (256,), 64)
    init_truncated_normal(again, 0.02, torch.Generator().manual_seed(1))
    assert torch.equal(again.linears[0].weight, weight)


def test_fleet_mlp_equals_each_member_alone():
    torch.manual_seed(0)
    fleet = FleetMLP(3, 6, (10, 8), 4)
    for parameter in fleet.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, 7, 6)
    together = fleet(x)
    for k in range(3):
        h = x[k]
        for i in range(3):
            h = h @ fleet.weights[i][k] + fleet.biases[i][k]
            if i < 2:
                h = F.layer_norm(F.mish(h), h.shape[-1:]) * fleet.gains[i][k] + fleet.shifts[i][k]
        torch.testing.assert_close(together[k], h, rtol=1e-4, atol=1e-5)


def test_orthogonal_initialisation_of_one_member():
    fleet = FleetMLP(2, 20, (12,), 3)
    fleet.init_orthogonal(1, 2.0, 0.5, torch.Generator().manual_seed(3))
    assert not fleet.weights[0][0].any()
    torch.testing.assert_close(fleet.weights[0][1].T @ fleet.weights[0][1], 4.0 * torch.eye(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(fleet.weights[1][1].T @ fleet.weights[1][1], 0.25 * torch.eye(3), atol=1e-5, rtol=0)
    again = FleetMLP(1, 20, (12,), 3)
    again.init_orthogonal(0, 2.0, 0.5, torch.Generator().manual_seed(3))
    assert torch.equal(again.weights[0][0], fleet.weights[0][1])


def used(rows=8):
    """A frozen network that has prepared its weights, and what it was called with."""
    torch.manual_seed(0)
    net = ConditionedMLP(256, 3, (260,), 8).requires_grad_(False)
    x, context = torch.randn(rows, 256), torch.randn(260)
    net(x, context)
    return net, x, context


def plain_result(net, x, context):
    twin = ConditionedMLP(256, 3, (260,), 8)
    twin.load_state_dict(net.state_dict())
    return twin(x, context).detach()


def test_a_frozen_network_notices_every_new_weight():
    net, x, context = used()
    vector = torch.nn.utils.parameters_to_vector(net.parameters())
    torch.nn.utils.vector_to_parameters(2.0 * vector, net.parameters())
    torch.testing.assert_close(net(x, context), plain_result(net, x, context))
    net.load_state_dict({name: value + 0.1 for name, value in net.state_dict().items()}, assign=True)
    net.requires_grad_(False)
    torch.testing.assert_close(net(x, context), plain_result(net, x, context))
    assert net.double()(x.double(), context.double()).dtype == torch.float64


def test_copies_of_a_used_network_are_their_own():
    net, x, context = used()
    twin = copy.deepcopy(net)
    twin(x, context)
    second, pickled = copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))
    before = second(x, context)
    with torch.no_grad():
        twin.linears[0].weight.neg_()
    for other in (second, pickled):
        assert torch.equal(other(x, context), before)
    assert not torch.equal(twin(x, context), before)


def test_a_used_network_passes_from_inference_to_gradients():
    torch.manual_seed(0)
    net = ConditionedMLP(256, 3, (260,), 8).requires_grad_(False)
    x, context = torch.randn(8, 256), torch.randn(260)
    with torch.inference_mode():
        expected = net(x, context)
        made = ConditionedMLP(256, 3, (260,), 8).requires_grad_(False)
        made(x, context)
    out = net(x.requires_grad_(True), context)
    assert torch.equal(out, expected) and torch.autograd.grad(out.sum(), x)[0].shape == x.shape


def test_half_precision_networks_go_to_pytorch():
    net, x, context = used()
    assert net.half()(x.half(), context.half()).dtype == torch.float16


def test_a_context_of_more_axes_than_the_input():
    net = ConditionedMLP(5, 3, (16,), 4)
    x, context = torch.randn(4, 5), torch.randn(2, 1, 16)
    together = net(x, context)
    assert together.shape == (2, 4, 4)
    for k in range(2):
        torch.testing.assert_close(together[k], net(x, context[k, 0]))


def test_groups_must_divide_the_output():
    with pytest.raises(PWMError, match="simnorm_group 3 does not divide the width 8"):
        ConditionedMLP(5, 3, (16,), 8, simnorm_group=3)


def test_a_batch_without_rows():
    net, fleet = ConditionedMLP(5, 3, (16,), 8, simnorm_group=4), FleetMLP(2, 5, (16,), 4)
    x = torch.zeros(2, 0, 5, requires_grad=True)
    for out in (net(x, torch.zeros(16)), fleet(x)):
        assert torch.autograd.grad(out.sum(), x)[0].shape == x.shape


def test_names_in_files():
    """Checkpoints and policy files hold tensors by these names."""
    names = "linears.0.weight linears.0.bias linears.1.weight linears.1.bias norms.0.weight norms.0.bias"
    assert [*ConditionedMLP(5, 3, (16,), 8).state_dict()] == names.split()
    names = "weights.0 weights.1 biases.0 biases.1 gains.0 shifts.0"
    assert [*FleetMLP(2, 5, (16,), 4).state_dict()] == names.split()
