"""The world-model loss against a slow and obvious second implementation, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from pwm.data.sampler import SliceBatch
from pwm.world_model.config import PretrainConfig, WorldModelConfig
from pwm.world_model.loss import world_model_loss
from pwm.world_model.model import WorldModel

CONFIG = WorldModelConfig(
    latent_dim=16, encoder_units=(12,), units=(10, 14), task_dim=6, simnorm_group=4, bins=21, episodic=True
)
HORIZON, BATCH = 3, 5


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = WorldModel(CONFIG, ["a", "b"], [4, 2], [1, 3], seed=1).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.normalise_observations("b", torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.1]))
    return model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    ended = torch.zeros(HORIZON, BATCH, dtype=torch.bool)
    ended[-1, 2] = True
    tasks = torch.tensor([0, 1, 1, 0, 1])
    return SliceBatch(draw(HORIZON + 1, BATCH, 4), draw(HORIZON, BATCH, 3), draw(HORIZON, BATCH) * 3, ended, tasks)


def plain_mlp(mlp, x, simnorm):
    """The network as written in the paper, for one row x that already contains the task embedding."""
    for i, linear in enumerate(mlp.linears):
        x = linear.weight @ x + linear.bias
        if i < len(mlp.norms):
            norm = mlp.norms[i]
            x = (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + norm.eps) * norm.weight + norm.bias
        if i < len(mlp.linears) - 1:
            x = x * torch.tanh(F.softplus(x))
    if simnorm:
        groups = x.view(CONFIG.simnorm_group, -1)
        x = (groups.exp() / groups.exp().sum(0)).flatten()
    return x


def plain_loss(model, batch, config):
    total = 0.0
    for b in range(BATCH):
        task = int(batch.tasks[b])
        e = model.embedding[task]
        width, actions = model.observation_dims[task], model.action_dims[task]

        def encode(observation, task=task, e=e, width=width):
            s = torch.zeros(4, dtype=torch.float64)
            s[:width] = observation[:width]
            if task == 1:
                s[:2] = (s[:2] - torch.tensor([0.5, -1.0])) / torch.tensor([2.0, 0.1])
            return plain_mlp(model.encoder, torch.cat((s, e)), True)

        z = encode(batch.observations[0, b])
        for t in range(HORIZON):
            a = torch.zeros(3, dtype=torch.float64)
            a[:actions] = batch.actions[t, b, :actions]
            logits = plain_mlp(model.reward, torch.cat((z, a, e)), False)
            z = plain_mlp(model.dynamics, torch.cat((z, a, e)), True)
            latent = ((z - encode(batch.observations[t + 1, b]).detach()) ** 2).mean()
            r = float(batch.rewards[t, b])
            position = (math.copysign(math.log1p(abs(r)), r) + 10) / 1.0
            low = math.floor(position)
            log_p = torch.log_softmax(logits, 0)
            reward = -(1 - (position - low)) * log_p[low] - (position - low) * log_p[low + 1]
            p = torch.sigmoid(plain_mlp(model.termination, torch.cat((z, e)), False)[0])
            end = -torch.log(p) if batch.terminations[t, b] else -torch.log(1 - p)
            weighted = config.latent_weight * latent + config.reward_weight * reward + config.termination_weight * end
            total = total + config.rho**t * weighted / HORIZON / BATCH
    return total


def test_loss_and_gradients_equal_the_plain_form(model, batch):
    config = PretrainConfig(rho=0.9, latent_weight=7.0, reward_weight=0.3, termination_weight=2.0)
    loss, parts = world_model_loss(model, batch, config)
    expected = plain_loss(model, batch, config)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-8)
    ours = torch.autograd.grad(loss, list(model.parameters()))
    theirs = torch.autograd.grad(expected, list(model.parameters()))
    for (name, _), a, b in zip(model.named_parameters(), ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8, msg=name)
    assert set(parts) == {"latent_loss", "reward_loss", "termination_loss"}


def test_padding_changes_nothing(model, batch):
    config = PretrainConfig()
    loss, _ = world_model_loss(model, batch, config)
    observations, actions = batch.observations.clone(), batch.actions.clone()
    observations[:, batch.tasks == 1, 2:] = 1e3
    actions[:, batch.tasks == 0, 1:] = -7.0
    garbage, _ = world_model_loss(model, batch._replace(observations=observations, actions=actions), config)
    assert torch.equal(loss, garbage)
    actions[:, batch.tasks == 0, 0] = -7.0
    moved, _ = world_model_loss(model, batch._replace(actions=actions), config)
    assert not torch.equal(loss, moved)
