"""The world model: initialisation, embedding norm, freezing, sizes, masks."""

import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.world_model.config import SIZES, WorldModelConfig, world_model_size
from pwm.world_model.model import WorldModel

TINY = SIZES["tiny"]


def make(**overrides):
    return WorldModel(world_model_size("tiny", **overrides), ["a", "b"], [4, 2], [1, 3], seed=0)


def test_initialisation():
    model = make()
    assert not model.reward.linears[-1].weight.any()
    assert model.dynamics.linears[0].weight.abs().max() <= 0.04
    assert 0.015 < model.embedding.abs().max() <= 0.02 and model.embedding.min() < 0
    assert make(embedding_init=0.5).embedding.abs().max() > 0.3
    assert not any(linear.bias.any() for linear in model.encoder.linears)
    rewards = model.bind(torch.tensor([0])).reward(torch.rand(1, 32), torch.rand(1, 3))
    torch.testing.assert_close(rewards, torch.zeros(1), atol=1e-5, rtol=0)


def test_bias_init_is_the_encoders_first_layer_alone():
    plain, biased = make(), make(bias_init=0.5)
    assert 0.3 < biased.encoder.linears[0].bias.std() < 0.7
    different = {n for (n, a), b in zip(plain.named_parameters(), biased.parameters(), strict=True) if (a != b).any()}
    assert different == {"encoder.linears.0.bias"}


def test_same_seed_same_weights():
    for a, b in zip(make().parameters(), make().parameters(), strict=True):
        assert torch.equal(a, b)


def test_embedding_norm_is_bounded():
    model = make()
    with torch.no_grad():
        model.embedding[0] = 3.0
        before = model.embedding[1].clone()
    model.project_embedding()
    torch.testing.assert_close(model.embedding[0].norm(), torch.tensor(1.0))
    assert torch.equal(model.embedding[1], before)


def test_frozen_model_passes_gradients_but_takes_none():
    model = make().freeze()
    bound = model.bind(torch.tensor([1, 1]))
    action = torch.zeros(2, 3, requires_grad=True)
    z = bound.encode(torch.randn(2, 4))
    bound.step(z, action).square().sum().backward()
    assert action.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_latent_is_made_of_simplices():
    model = make()
    z = model.bind(torch.tensor([0])).encode(torch.randn(1, 4))
    torch.testing.assert_close(z.view(8, 4).sum(0), torch.ones(4))


@pytest.mark.parametrize(
    ("size", "observation", "tasks", "task_dim", "parameters"),
    [("5", 24, 30, 64, 1_599_717), ("48", 24, 30, 64, 18_983_909), ("48", 39, 80, 96, 19_188_581)],
)
def test_parameter_counts_of_published_sizes(size, observation, tasks, task_dim, parameters):
    config = world_model_size(size, task_dim=task_dim)
    model = WorldModel(config, [str(i) for i in range(tasks)], [observation] * tasks, [6] * tasks)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_errors_name_the_cure():
    with pytest.raises(PWMError, match="simnorm_group"):
        WorldModel(WorldModelConfig(latent_dim=30), ["a"], [1], [1])
    with pytest.raises(PWMError, match="this world model knows a, b"):
        make().index("c")
    with pytest.raises(PWMError, match="choose one of"):
        world_model_size("7")
    with pytest.raises(PWMError, match="termination head"):
        make().bind(["a"]).termination_logit(torch.rand(1, 1, 32))


def test_a_batch_of_many_rows_has_one_gradient_on_several_threads():
    """The rows of a task are added up in one order: the same seed gives the same bits."""
    model = WorldModel(world_model_size("tiny"), ["a", "b", "c"], [4, 3, 5], [2, 1, 2])
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(3, (20_000,), generator=generator)
    weights = torch.randn(20_000, 1, generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for _ in range(6):
            model.zero_grad()
            (model.bind(rows).contexts["dynamics"] * weights).sum().backward()
            found.append(model.embedding.grad.clone())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found)
