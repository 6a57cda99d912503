"""More tasks for a model: what it knew stays, and a new task begins where its rewards are predicted best."""

from __future__ import annotations

import pytest
import torch

from pwm.data.sampler import SliceBatch
from pwm.nn.two_hot import symexp
from pwm.tasks.spec import TaskSpec
from pwm.world_model.config import world_model_size
from pwm.world_model.extend import adopt, extended
from pwm.world_model.model import WorldModel


def spec(id, observation_dim, action_dim):
    return TaskSpec(id, observation_dim, action_dim, 10, 1, "return", lambda **_: None)


@pytest.fixture
def model():
    config = world_model_size("tiny", embedding_init=0.5, episodic=True)
    model = WorldModel(config, ["a", "b"], [3, 2], [1, 2], seed=3)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())))
        model.normalise_observations("b", torch.tensor([1.0, 2.0]), torch.tensor([0.5, 2.0]))
    return model


def outputs(model, task, observation_dim, action_dim):
    random = torch.Generator().manual_seed(0)
    seen, acted = torch.zeros(4, model.observation_dim), torch.zeros(4, model.action_dim)
    seen[:, :observation_dim] = torch.randn(4, observation_dim, generator=random)
    acted[:, :action_dim] = torch.rand(4, action_dim, generator=random)
    bound = model.bind(torch.full((4,), model.index(task)))
    latent = bound.encode(seen)
    return latent, bound.step(latent, acted), bound.reward_logits(latent, acted), bound.termination_logit(latent)


def test_known_tasks_give_the_same_outputs_in_a_wider_model(model):
    wide = extended(model, [spec("b", 2, 2), spec("c", 5, 4)])
    assert wide.tasks == ("a", "b", "c") and (wide.observation_dim, wide.action_dim) == (5, 4)
    for task, sizes in (("a", (3, 1)), ("b", (2, 2))):
        for old, new in zip(outputs(model, task, *sizes), outputs(wide, task, *sizes), strict=True):
            torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-6)
    assert outputs(wide, "c", 5, 4)[0].isfinite().all()
    assert wide.embedding[2].allclose(model.embedding.mean(dim=0))
    assert extended(model, [spec("a", 3, 1)]).state_dict().keys() == model.state_dict().keys()


def test_the_embedding_of_a_new_task_is_that_of_the_best_predictor(model):
    wide = extended(model, [spec("c", 3, 2)])
    random = torch.Generator().manual_seed(1)
    seen, acted = torch.randn(5, 30, 3, generator=random), torch.rand(4, 30, 2, generator=random)
    rows = torch.tensor([2] * 20 + [0] * 10)
    for teacher in ("a", "b"):
        with torch.no_grad():  # the rewards that are likeliest by the teacher
            wide.embedding[2] = wide.embedding[wide.index(teacher)]
            bound = wide.bind(rows)
            latents = torch.stack(bound.rollout(bound.encode(seen[0]), acted))
            likely = bound.reward_logits(latents[:-1], acted).argmax(dim=-1)
            rewards = symexp(model.two_hot.grid(seen)[likely])
            wide.embedding[2] = 0.0
        batch = SliceBatch(seen, acted, rewards, torch.zeros(4, 30, dtype=torch.bool), rows)
        assert adopt(wide, "c", batch) == teacher
        assert wide.embedding[2].equal(wide.embedding[wide.index(teacher)])
