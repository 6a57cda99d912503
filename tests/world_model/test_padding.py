"""Tasks of different sizes in one model: padded at the end to the widest task, and the padding means nothing."""

import pytest
import torch

from pwm.tasks.registry import task_set
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel


@pytest.fixture(scope="module", params=["mt30", "mt80"])
def specs(request):
    return task_set(request.param)


@pytest.fixture(scope="module")
def model(specs):
    names = [spec.id for spec in specs]
    sizes = [spec.observation_dim for spec in specs], [spec.action_dim for spec in specs]
    model = WorldModel(world_model_size("tiny"), names, *sizes, seed=0).double()
    with torch.no_grad():  # the reward's last layer starts at zero, which would hide everything
        model.reward.linears[-1].weight.normal_(generator=torch.Generator().manual_seed(0))
    for spec in specs[::7]:
        width = spec.observation_dim
        model.normalise_observations(spec.id, torch.full((width,), 0.5), torch.full((width,), 2.0))
    return model


def outputs(model, observations, actions):
    """Latent, next latent and reward logits, one row per task."""
    bound = model.bind(torch.arange(len(model.tasks)))
    latent = bound.encode(observations)
    return latent, bound.step(latent, actions), bound.reward_logits(latent, actions)


def inputs(model):
    generator = torch.Generator().manual_seed(1)
    rows = len(model.tasks)
    shapes = (rows, model.observation_dim), (rows, model.action_dim)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_the_model_is_as_wide_as_the_widest_task(specs, model):
    assert (model.observation_dim, model.action_dim) == ((24, 6) if len(specs) == 30 else (39, 6))
    assert model.action_mask.sum(1).tolist() == [spec.action_dim for spec in specs]


def test_garbage_in_the_padding_changes_nothing(specs, model):
    observations, actions = inputs(model)
    clean = outputs(model, observations, actions)
    for row, spec in enumerate(specs):
        observations[row, spec.observation_dim :] = -1e6
        actions[row, spec.action_dim :] = 1e6
    for before, after in zip(clean, outputs(model, observations, actions), strict=True):
        assert torch.equal(before, after)


def test_every_entry_of_a_tasks_own_counts(specs, model):
    observations, actions = (x.requires_grad_() for x in inputs(model))
    latent, following, logits = outputs(model, observations, actions)
    weights = torch.linspace(-1.0, 2.0, latent.shape[-1], dtype=torch.float64)
    (latent @ weights + following @ weights + logits[:, 0]).sum().backward()
    for gradient, sizes in ((observations.grad, model.observation_dims), (actions.grad, model.action_dims)):
        for row, size in enumerate(sizes):
            assert gradient[row, :size].ne(0).all() and not gradient[row, size:].any()
