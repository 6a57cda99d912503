"""The conditioned perceptron equals a plain one on concatenated inputs; a fleet equals its members one by one."""

import torch
import torch.nn.functional as F

from pwm.nn.fleet_mlp import FleetMLP
from pwm.nn.mlp import ConditionedMLP, init_truncated_normal


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
