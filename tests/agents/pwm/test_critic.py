"""Critics: the ensemble's minimum, initialisation by key, members and critics apart."""

from dataclasses import replace

import pytest
import torch

from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.nn.products import set_precision

CONFIG = PolicyConfig(critic_units=(12, 8), critics=3)


def test_value_is_the_smallest_of_the_ensemble():
    critic = FleetCritic(16, CONFIG, [1, 2])
    latent = torch.rand(2, 6, 16)
    values = critic(latent)
    assert values.shape == (2, 3, 6)
    for k in range(2):
        for row in range(6):
            assert critic.value(latent)[k, row] == min(values[k, c, row] for c in range(3))


def test_critics_of_a_member_see_its_latents_only():
    critic = FleetCritic(16, CONFIG, [1, 2])
    latent = torch.rand(2, 6, 16)
    before = critic(latent)
    latent[1] += 1.0
    after = critic(latent)
    assert torch.equal(before[0], after[0]) and not torch.isclose(before[1], after[1]).any()


def test_every_critic_is_initialised_apart_and_by_its_members_key_alone():
    pair, alone = FleetCritic(16, CONFIG, [7, 8]), FleetCritic(16, CONFIG, [8])
    for a, b in zip(pair.net.weights, alone.net.weights, strict=True):
        assert torch.equal(a[3:], b)
        assert len({tuple(row.flatten().tolist()) for row in a}) == 6
    for weight in pair.net.weights[0]:
        torch.testing.assert_close(weight.T @ weight, 2.0 * torch.eye(12), atol=1e-5, rtol=1e-4)


def test_output_gain_scales_the_last_layer_alone():
    one, half = FleetCritic(16, CONFIG, [7]), FleetCritic(16, replace(CONFIG, critic_output_gain=0.5), [7])
    assert torch.equal(one.net.weights[0], half.net.weights[0])
    torch.testing.assert_close(0.5 * one.net.weights[-1], half.net.weights[-1])
    assert torch.linalg.vector_norm(one.net.weights[-1][0]).item() == pytest.approx(1.0)


def test_values_near_sixty_keep_their_digits_in_bfloat16():
    """Rounded to bfloat16 they would come in steps of a quarter, and targets with them."""
    critic = FleetCritic(48, PolicyConfig(), [1, 2])
    torch.nn.init.constant_(critic.net.shifts[-1], 1.0)
    critic.net.weights[-1].data = 0.3 + 0.05 * critic.net.weights[-1].data
    latents = torch.randn(2, 300, 48, generator=torch.Generator().manual_seed(0))
    exact = critic(latents).detach()
    set_precision(critic, "bfloat16")
    low = critic(latents).detach()
    assert 55 < float(exact.mean()) < 65
    assert 0 < float((low - exact).square().mean().sqrt()) < 0.01
    assert low.unique().numel() > 0.5 * low.numel()
