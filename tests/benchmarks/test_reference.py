"""The library computes what the plain reference computes: whatever is done for speed must leave this file green."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from benchmarks import workload
from benchmarks.reference.convert import (
    as_gradients,
    convert_actor,
    convert_critics,
    convert_world_model,
    latent_order,
)
from benchmarks.reference.policy_update import PolicyTrainer
from benchmarks.reference.world_model_update import WorldModelTrainer, two_hot
from pwm.agents.pwm.losses import PolicyBatch, actor_loss, critic_gradients, critic_targets
from pwm.data.sampler import SliceSampler
from pwm.world_model.loss import world_model_loss
from pwm.world_model.pretrain import build_pretrainer
from tests.benchmarks.conftest import MODEL, POLICY, PRETRAIN

ORDER = latent_order(MODEL)
MEMBER = 1
PRECISIONS = pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])


def close(actual, expected, rtol):
    """Equal to `rtol` of the largest entry: single entries may cancel to nothing."""
    atol = rtol * float(expected.detach().abs().max())
    torch.testing.assert_close(actual.detach(), expected.detach(), rtol=rtol, atol=atol)


def close_parameters(actual, expected, rtol):
    for (name, a), (other, b) in zip(actual.named_parameters(), expected.named_parameters(), strict=True):
        assert name == other
        assert b.abs().max() > 0, f"{name}: nothing to compare"
        close(a, b, rtol)


@pytest.fixture
def pair(model, store):
    """Make (fleet of three, reference trainer of its member 1) with the same weights."""

    def make(dtype=torch.float32, config=POLICY, members=3):
        model.to(dtype).freeze()
        learner = workload.fleet(model, store, config, members)
        for module in (learner.actor, learner.critic):
            workload.randomise(module.to(dtype), seed=3)
            for weight in module.net.weights:  # inputs come before outputs here
                weight.data.mul_((weight.shape[2] / weight.shape[1]) ** 0.5)
        learner.target_critic.load_state_dict(learner.critic.state_dict())
        member = MEMBER % members
        reference = PolicyTrainer(
            convert_world_model(model),
            convert_actor(learner.actor, member, config, MODEL),
            convert_critics(learner.critic, member, config, MODEL),
            model.index(learner.tasks[member]),
            config,
        )
        return learner, reference

    return make


def test_weights_in_another_order_are_another_model(model, store):
    """The converter's permutation matters: without it the comparison below would fail."""
    reference = convert_world_model(model)
    observation, tasks = torch.randn(6, 7), torch.arange(6) % 3
    bound = model.bind(tasks)
    observation = observation * bound.observation_scale
    latent = bound.encode(observation)
    close(latent[:, ORDER], reference.encode(observation, tasks), 1e-5)
    assert (latent - reference.encode(observation, tasks)).abs().max() > 1e-2


@PRECISIONS
def test_world_model_rollout(model, dtype, rtol):
    model.to(dtype)
    reference = convert_world_model(model)
    generator = torch.Generator().manual_seed(0)
    tasks = torch.arange(9) % 3
    bound = model.bind(tasks)
    observation = torch.randn(9, 7, generator=generator).to(dtype) * bound.observation_scale
    latent, theirs = bound.encode(observation), reference.encode(observation, tasks)
    for _ in range(5):
        action = torch.rand(9, 3, generator=generator).to(dtype) * 2 - 1  # padded entries are not zero
        logits, expected = bound.reward_logits(latent, action), reference.reward_logits(theirs, action, tasks)
        close(logits, expected, rtol)
        for space in ("symlog", "true"):
            close(model.two_hot.decode(logits, space), reference.decode_reward(expected, space), 10 * rtol)
        latent, theirs = bound.step(latent, action), reference.next(theirs, action, tasks)
        close(latent[:, ORDER], theirs, rtol)


@PRECISIONS
@pytest.mark.parametrize("space", ["symlog", "true"])
def test_actor_loss_targets_and_gradients(pair, dtype, rtol, space):
    config = replace(POLICY, reward_space=space)
    learner, reference = pair(dtype, config)
    batch = learner.batch()
    batch = PolicyBatch(batch.observations.to(dtype), batch.noise.to(dtype))
    scale = torch.ones(3, dtype=dtype)
    terms = actor_loss(learner.actor, learner.critic, learner.bound, batch, scale, config)
    terms.loss.sum().backward()

    returns, latents, rewards, values = reference.imagine(batch.observations[MEMBER], batch.noise[:, MEMBER])
    (-returns.mean()).backward()
    close(terms.loss[MEMBER], -returns.mean(), rtol)
    close(terms.returns[MEMBER], returns, rtol)
    close(terms.rollout.rewards[:, MEMBER], rewards, rtol)
    close(terms.rollout.latents[:-1, MEMBER][..., ORDER], latents, rtol)
    gradients = convert_actor(as_gradients(deepcopy_with_gradients(learner.actor)), MEMBER, config, MODEL)
    close_parameters(gradients, as_gradients(reference.actor), rtol)

    targets = critic_targets(learner.critic, terms.rollout, config)
    close(targets[:, MEMBER], reference.lambda_returns(rewards, values), rtol)


def give(module, grads):
    for parameter, grad in zip(module.parameters(), grads, strict=True):
        parameter.grad = grad.to(parameter.dtype)


@PRECISIONS
def test_critic_loss_and_gradients(pair, dtype, rtol):
    learner, reference = pair(dtype)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(3, 20, MODEL.latent_dim, generator=generator).to(dtype)
    targets = torch.randn(3, 20, generator=generator).to(dtype)
    loss, grads = critic_gradients(learner.critic, latents, targets)
    give(learner.critic, grads)
    expected = reference.critic_loss(latents[MEMBER][:, ORDER], targets[MEMBER])
    expected.backward()
    close(loss[MEMBER], expected, rtol)
    gradients = convert_critics(as_gradients(deepcopy_with_gradients(learner.critic)), MEMBER, POLICY, MODEL)
    close_parameters(gradients, as_gradients(reference.critics), rtol)


@PRECISIONS
def test_world_model_loss_and_gradients(model, store, dtype, rtol):
    model.to(dtype)
    reference = convert_world_model(model)
    config = PRETRAIN
    batch = SliceSampler(store, config.horizon, config.batch_size, seed=0).sample(0)
    batch = batch._replace(**{k: getattr(batch, k).to(dtype) for k in ("observations", "actions", "rewards")})
    loss, _ = world_model_loss(model, batch, config)
    loss.backward()
    expected = WorldModelTrainer(reference, config).loss(batch)
    expected.backward()
    close(loss, expected, rtol)
    # Gradients of the second-level linears' biases sum over 60 rows: allow them a little more.
    gradients = convert_world_model(as_gradients(deepcopy_with_gradients(model)))
    close_parameters(gradients, as_gradients(reference), 3 * rtol)


def test_two_hot_targets(model):
    rewards = torch.cat((torch.linspace(-50, 50, 41), torch.tensor([0.0, 1e9, -1e9]))).double()
    close(two_hot(rewards, MODEL), model.two_hot.encode(rewards), 1e-9)


@pytest.mark.parametrize("scale", ["none", "exponential", "cumulative"])
def test_whole_updates(pair, scale):
    """Four updates, optimisers, clipping, decay and return scale included; one split, so that shuffling is nothing."""
    config = replace(POLICY, critic_splits=1, return_scale=scale, updates=5, actor_grad_norm=0.05, critic_grad_norm=0.5)
    learner, reference = pair(config=config, members=2)
    actor, critics = deepcopy(reference.actor), deepcopy(reference.critics)
    for _ in range(4):
        batch = learner.batch()
        ours = learner.update()
        theirs = reference.update(batch.observations[MEMBER], batch.noise[:, MEMBER])
        for name, value in theirs.items():
            close(ours[name][MEMBER], value, 1e-3)
    moved(convert_actor(learner.actor, MEMBER, config, MODEL), reference.actor, actor)
    moved(convert_critics(learner.critic, MEMBER, config, MODEL), reference.critics, critics)


def test_whole_world_model_updates(store):
    config = PRETRAIN
    trainer = build_pretrainer(store, MODEL, config)
    workload.randomise(trainer.model, 0)
    reference = WorldModelTrainer(convert_world_model(trainer.model), config)
    start = deepcopy(reference.model)
    sampler = SliceSampler(store, config.horizon, config.batch_size, seed=0)
    for step in range(4):
        loss, expected = trainer.update()["loss"], reference.update(sampler.sample(step))
        close(loss, expected, 1e-4)
    moved(convert_world_model(trainer.model), reference.model, start)


def test_bfloat16_gradients_point_the_same_way(pair, model, store):
    """Low precision changes numbers, and little: losses within a per cent, gradients with a cosine above 0.999."""
    learner, reference = pair(config=replace(POLICY, precision="bfloat16"))
    batch = learner.batch()
    terms = actor_loss(learner.actor, learner.critic, learner.bound, batch, torch.ones(3), learner.config)
    targets = critic_targets(learner.critic, terms.rollout, learner.config)[:, MEMBER]
    latents = terms.rollout.latents[:-1].detach()
    terms.loss.sum().backward()
    learner.critic.zero_grad()
    rows = latents.transpose(0, 1).flatten(1, 2)
    give(learner.critic, critic_gradients(learner.critic, rows, targets.flatten().expand(3, -1))[1])

    returns, latents, rewards, values = reference.imagine(batch.observations[MEMBER], batch.noise[:, MEMBER])
    (-returns.mean()).backward()
    expected = reference.lambda_returns(rewards, values)
    reference.critics.zero_grad()
    reference.critic_loss(latents.flatten(0, 1), expected.flatten()).backward()
    close(terms.returns[MEMBER].mean(), returns.mean(), 0.01)
    close(targets, expected, 0.02)
    actor = convert_actor(as_gradients(deepcopy_with_gradients(learner.actor)), MEMBER, POLICY, MODEL)
    critics = convert_critics(as_gradients(deepcopy_with_gradients(learner.critic)), MEMBER, POLICY, MODEL)
    assert 0.999 < cosine(actor, as_gradients(reference.actor)) < 1 - 1e-7
    assert 0.999 < cosine(critics, as_gradients(reference.critics)) < 1 - 1e-7


def test_bfloat16_world_model_gradients_point_the_same_way(store):
    trainer = build_pretrainer(store, MODEL, replace(PRETRAIN, precision="bfloat16"))
    workload.randomise(trainer.model, 0)
    reference = convert_world_model(trainer.model)
    batch = trainer.sampler(0)
    loss, _ = world_model_loss(trainer.model, batch, PRETRAIN)
    loss.backward()
    expected = WorldModelTrainer(reference, PRETRAIN).loss(batch)
    expected.backward()
    close(loss, expected, 0.01)
    gradients = convert_world_model(as_gradients(deepcopy_with_gradients(trainer.model)))
    assert 0.999 < cosine(gradients, as_gradients(reference)) < 1 - 1e-7


def cosine(a, b):
    a, b = (torch.cat([p.detach().flatten() for p in m.parameters()]).double() for m in (a, b))
    return float(a @ b / (a.norm() * b.norm()))


def moved(actual, expected, start):
    """Both moved from `start` by the same step, as a whole: Adam turns rounding of tiny gradients into small steps."""
    a, b, c = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (actual, expected, start))
    assert torch.linalg.vector_norm(b - c) > 0
    assert torch.linalg.vector_norm(a - b) < 1e-2 * torch.linalg.vector_norm(b - c)


def deepcopy_with_gradients(module):
    copy = deepcopy(module)
    for own, theirs in zip(copy.parameters(), module.parameters(), strict=True):
        own.grad = None if theirs.grad is None else theirs.grad.clone()
    return copy
