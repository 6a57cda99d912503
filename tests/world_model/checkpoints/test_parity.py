"""Converted weights compute what the published architecture computes, in every layout."""

from __future__ import annotations

import pytest
import torch

from pwm.tasks.registry import get_task
from pwm.world_model.checkpoints.files import read_checkpoint
from tests.world_model.checkpoints.published import ERAS, Published, critic, two_hot_inv

TASKS = ("walker-run", "cup-catch", "cartpole-swingup")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def side_by_side(latent: torch.Tensor) -> torch.Tensor:
    """Our latents in the published order: the members of a group are neighbours there."""
    return torch.cat([latent[..., g :: latent.shape[-1] // 8] for g in range(latent.shape[-1] // 8)], dim=-1)


@torch.no_grad()
def compare(agent: Published, checkpoint, task: int, spec, steps: int = 4) -> None:
    """Roll both models out side by side from the same observations under the same actions."""
    model, heads = checkpoint.model, checkpoint.heads
    generator = torch.Generator().manual_seed(1)
    observation = torch.zeros(5, model.observation_dim)
    observation[:, : spec.observation_dim] = torch.randn(5, spec.observation_dim, generator=generator)
    bound = model.bind(torch.full((5,), task))
    ours, theirs = bound.encode(observation), agent.encode(observation, task)
    for _ in range(steps):
        torch.testing.assert_close(side_by_side(ours), theirs, **CLOSE)
        action = torch.zeros(5, model.action_dim)
        action[:, : spec.action_dim] = 2 * torch.rand(5, spec.action_dim, generator=generator) - 1
        logits = bound.reward_logits(ours, action)
        torch.testing.assert_close(logits, agent.reward(theirs, action, task), **CLOSE)
        torch.testing.assert_close(
            model.two_hot.decode(logits), two_hot_inv(agent.reward(theirs, action, task)), **CLOSE
        )
        embedding = model.embedding[task].expand(5, -1)
        for name, x, expected in (
            ("policy", (ours, embedding), agent.policy(theirs, task)[None]),
            ("critics", (ours, action, embedding), agent.q(theirs, action, task)),
        ):
            parts = [part for i in range(3) for part in layer_of(heads, name, i)]
            parts = parts if name == "critics" else [part[None] for part in parts]
            found = [critic(torch.cat(x, -1), [p[k] for p in parts]) for k in range(len(parts[0]))]
            torch.testing.assert_close(torch.stack(found), expected, **CLOSE)
        ours, theirs = bound.step(ours, action), agent.next(theirs, action, task)
        if bound.terminates:
            torch.testing.assert_close(bound.termination_logit(ours), agent.termination(theirs, task), **CLOSE)


def layer_of(heads, name: str, i: int) -> list[torch.Tensor]:
    parts = ("weight", "bias", "gain", "shift")
    return [heads[f"{name}.{i}.{part}"] for part in parts if f"{name}.{i}.{part}" in heads]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("encoder", [(20,), (20, 16, 20)], ids=["one hidden", "three hidden"])
def test_multi_task(saved, era, encoder):
    agent = Published(era, 3, 24, 6, encoder=encoder)
    assert (agent._task_emb.weight.norm(dim=-1) > 1.2).any(), "a long embedding must be part of the test"
    file = saved(agent)
    checkpoint = read_checkpoint(file, TASKS)
    assert checkpoint.about["layout"] == era and checkpoint.about["critics"] == 3
    for row, name in enumerate(TASKS):
        compare(agent, checkpoint, row, get_task(name))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("episodic", [False, True])
def test_single_task(saved, era, episodic):
    agent = Published(era, 0, 24, 6, episodic=episodic)
    checkpoint = read_checkpoint(saved(agent), ["walker-run"])
    assert checkpoint.model.config.episodic == episodic and checkpoint.model.config.task_dim == 0
    compare(agent, checkpoint, 0, get_task("walker-run"))


def test_every_era_gives_the_same_model(saved):
    models = [read_checkpoint(saved(Published(era, 3, 24, 6)), TASKS) for era in ERAS]
    for other in models[1:]:
        for name, value in models[0].model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[name]), name
        for name in ("critics.0.weight", "critics.1.gain", "target_critics.2.bias", "policy.1.shift"):
            assert torch.equal(models[0].heads[name], other.heads[name]), name
