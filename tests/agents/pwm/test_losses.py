"""Objectives of actor and critic: gradients against finite differences, masks, and what must not move."""

from dataclasses import replace

import pytest
import torch

from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.agents.pwm.imagination import imagine
from pwm.agents.pwm.losses import PolicyBatch, actor_loss, alive, behaviour_loss, critic_gradients, critic_targets

CONFIG = PolicyConfig(
    batch_size=3, horizon=4, actor_units=(8, 6), critic_units=(7,), actor_output_gain=1.0, behaviour_weight=0.5
)


@pytest.fixture
def parts(model):
    model = model.double()
    actor = FleetActor(32, 3, CONFIG, [1, 2]).double()
    critic = FleetCritic(32, CONFIG, [3, 4]).double()
    bound = model.bind(model.tasks)
    generator = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    batch = PolicyBatch(draw(2, 3, 5), draw(4, 2, 3, 3), draw(2, 6, 5), draw(2, 6, 3).tanh())
    return bound, actor, critic, batch, torch.tensor([1.5, 0.5], dtype=torch.float64)


def loss_of(parts, config):
    bound, actor, critic, batch, scale = parts
    return actor_loss(actor, critic, bound, batch, scale, config).loss


@pytest.mark.parametrize("reward_space", ["symlog", "true"])
def test_actor_gradient_against_finite_differences(parts, reward_space):
    config = replace(CONFIG, detach_actor_input=False, reward_space=reward_space)
    actor = parts[1]
    grads = torch.autograd.grad(loss_of(parts, config).sum(), list(actor.parameters()))
    with torch.no_grad():
        for parameter, grad in zip(actor.parameters(), grads, strict=True):
            flat = parameter.view(-1)
            for i in range(0, flat.numel(), max(1, flat.numel() // 7)):
                old, step = flat[i].item(), 1e-5
                flat[i] = old + step
                up = loss_of(parts, config).sum()
                flat[i] = old - step
                down = loss_of(parts, config).sum()
                flat[i] = old
                numeric = (up - down) / (2 * step)
                torch.testing.assert_close(grad.view(-1)[i], numeric, rtol=1e-5, atol=1e-8)


def test_detached_actor_input_by_finite_differences_of_replayed_inputs(parts):
    """With detached inputs theta acts only through the actions: freeze the inputs to the actor and differentiate."""
    bound, actor, critic, batch, _ = parts
    start = bound.encode(batch.observations)

    def total(seen):
        z, value = start, 0.0
        for h, eps in enumerate(batch.noise):
            a = actor(seen[h], eps)
            value = value + CONFIG.gamma**h * bound.reward(z, a, "symlog").sum()
            z = bound.step(z, a)
        return value + CONFIG.gamma ** len(batch.noise) * critic.value(z).sum()

    rollout = imagine(bound, actor, start, batch.noise, "symlog", detach_actor_input=True)
    config = replace(CONFIG, behaviour_weight=0.0)
    loss = actor_loss(actor, critic, bound, batch, torch.ones(2).double(), config).loss.sum()
    ours = torch.autograd.grad(loss, list(actor.parameters()))
    expected = torch.autograd.grad(-total(rollout.latents.detach()) / 3, list(actor.parameters()))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_frozen_world_model_and_critic_stay(parts):
    bound, actor, critic, *_ = parts
    model = bound.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss_of(parts, CONFIG).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in actor.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_garbage_in_padding_changes_nothing(parts):
    bound, actor, critic, batch, scale = parts
    clean = loss_of(parts, CONFIG)
    garbage = PolicyBatch(*(value.clone() for value in batch))
    garbage.observations[1, :, 2:], garbage.good_observations[1, :, 2:] = 99.0, -99.0
    garbage.noise[:, 1, :, 1:], garbage.good_actions[1, :, 1:] = 9.0, 9.0
    assert torch.equal(loss_of((bound, actor, critic, garbage, scale), CONFIG), clean)
    published = replace(CONFIG, mask_actions=False)
    assert not torch.equal(loss_of((bound, actor, critic, garbage, scale), published), clean)


def test_return_scale_divides_each_member(parts):
    bound, actor, critic, batch, scale = parts
    config = replace(CONFIG, behaviour_weight=0.0)
    unscaled = loss_of((bound, actor, critic, batch, torch.ones(2).double()), config)
    torch.testing.assert_close(loss_of(parts, config), unscaled / scale)


def test_minimum_noise_holds(parts):
    actor = parts[1]
    with torch.no_grad():
        actor.log_std.fill_(-5.0)
    torch.testing.assert_close(actor.std(), torch.full_like(actor.std(), 0.24))
    spread = actor(torch.zeros(2, 20000, 32).double(), torch.randn(2, 20000, 3).double()).atanh().std(dim=1)
    torch.testing.assert_close(spread, torch.full_like(spread, 0.24), rtol=0.05, atol=0)


def test_behaviour_loss_by_hand(parts):
    bound, actor, critic, batch, _ = parts
    ours = behaviour_loss(actor, bound, batch.good_observations, batch.good_actions)
    mean = actor.mean(bound.encode(batch.good_observations))
    for k, width in enumerate((3, 1)):
        expected = (mean[k, :, :width] - batch.good_actions[k, :, :width]).square().mean()
        torch.testing.assert_close(ours[k], expected)
    without = loss_of(parts, replace(CONFIG, behaviour_weight=0.0))
    torch.testing.assert_close(loss_of(parts, CONFIG), without + 0.5 * ours)


def test_critic_targets_and_loss(parts):
    bound, actor, critic, batch, _ = parts
    rollout = imagine(bound, actor, bound.encode(batch.observations), batch.noise, "symlog")
    targets = critic_targets(critic, rollout, CONFIG)
    values = torch.stack([critic(z).min(dim=1).values for z in rollout.latents[1:]])
    total = values[-1]
    for h in reversed(range(4)):
        total = rollout.rewards[h] + 0.99 * (0.05 * values[h] + 0.95 * total)
        torch.testing.assert_close(targets[h], total)
    assert not targets.requires_grad
    z, y = rollout.latents[0], targets[0]
    expected = sum(((critic(z)[:, k] - y) ** 2).mean(-1) for k in range(3))
    loss, grads = critic_gradients(critic, z, y)
    torch.testing.assert_close(loss, expected)
    critic.requires_grad_(True)
    for ours, theirs in zip(grads, torch.autograd.grad(expected.sum(), list(critic.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_states_after_a_termination_do_not_count(parts):
    continues = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert alive(continues).tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    critic = parts[2]
    latents, targets = torch.rand(2, 4, 32).double(), torch.rand(2, 4).double()
    weights = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    loss, grads = critic_gradients(critic, latents, targets, weights)
    targets[0, 2:] = 1e6
    again, same = critic_gradients(critic, latents, targets, weights)
    assert torch.equal(again, loss) and all(torch.equal(a, b) for a, b in zip(grads, same, strict=True))
    torch.testing.assert_close(loss[1], critic_gradients(critic, latents, targets)[0][1])
    expected = sum(((critic(latents)[:, k] - targets) ** 2 * weights).mean(-1) for k in range(3))
    critic.requires_grad_(True)
    for ours, theirs in zip(grads, torch.autograd.grad(expected.sum(), list(critic.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs)
