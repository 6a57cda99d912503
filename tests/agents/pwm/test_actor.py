"""Actors: noise, initialisation by key, members apart."""

import math

import torch

from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig

CONFIG = PolicyConfig(actor_units=(12, 8))


def test_forward_is_the_squashed_mean_plus_scaled_noise():
    actor = FleetActor(16, 3, CONFIG, [1, 2])
    with torch.no_grad():
        actor.log_std[0, 0] = torch.tensor([0.1, -0.5, -9.0])
    latent, noise = torch.rand(2, 5, 16), torch.randn(2, 5, 3)
    sigma = torch.tensor([[math.exp(0.1), math.exp(-0.5), 0.24], [math.exp(-1.0)] * 3])
    expected = torch.tanh(actor.net(latent) + sigma[:, None] * noise)
    torch.testing.assert_close(actor(latent, noise), expected)
    torch.testing.assert_close(actor.mean(latent), actor(latent, torch.zeros_like(noise)))


def test_noise_starts_where_the_settings_say_and_has_a_gradient():
    actor = FleetActor(16, 3, PolicyConfig(actor_units=(8,), initial_log_std=-0.5), [1])
    torch.testing.assert_close(actor.std(), torch.full((1, 1, 3), math.exp(-0.5)))
    actor(torch.rand(1, 4, 16), torch.randn(1, 4, 3)).sum().backward()
    assert (actor.log_std.grad != 0).all()


def test_initialisation_is_orthogonal_with_a_small_last_layer():
    actor = FleetActor(16, 3, CONFIG, [5])
    first, second, last = (weight[0] for weight in actor.net.weights)
    for weight, gain in ((first, math.sqrt(2.0)), (second, math.sqrt(2.0)), (last, 0.01)):
        square = weight.T @ weight
        torch.testing.assert_close(square, gain**2 * torch.eye(len(square)), atol=1e-5, rtol=1e-4)
    assert actor.mean(torch.rand(1, 50, 16)).abs().max() < 0.2


def test_a_member_is_initialised_by_its_key_alone():
    pair, alone = FleetActor(16, 3, CONFIG, [7, 8]), FleetActor(16, 3, CONFIG, [8])
    for a, b in zip(pair.net.weights, alone.net.weights, strict=True):
        assert torch.equal(a[1], b[0]) and not torch.equal(a[0], a[1])
