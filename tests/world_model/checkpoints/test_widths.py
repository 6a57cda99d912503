"""Sizes: parameter counts against the published ones, and their names from the tensors."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.world_model.checkpoints.files import read_checkpoint
from pwm.world_model.checkpoints.widths import size_name
from pwm.world_model.config import SIZES
from pwm.world_model.model import WorldModel
from tests.world_model.checkpoints.published import Published

# size: parameters of embedding, encoder, dynamics and reward, for 30 tasks of (24, 6) and for 80 tasks of (39, 6)
PUBLISHED = {
    "1": (632_101, 640_741),
    "5": (1_599_717, 1_650_277),
    "19": (5_603_301, 6_772_837),
    "48": (18_983_909, 19_188_581),
    "317": (108_280_805, 108_347_045),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameter_counts(monkeypatch, size):
    monkeypatch.setattr(WorldModel, "_initialise", lambda *_: None)  # no numbers are needed
    for tasks, observation, count in zip((30, 80), (24, 39), PUBLISHED[size], strict=True):
        config = SIZES[size]
        if tasks == 30 and size in ("5", "19", "48"):
            config = dataclasses.replace(config, task_dim=64)
        if tasks == 30 and size == "19":
            config = dataclasses.replace(config, latent_dim=512)
        with torch.device("meta"):
            model = WorldModel(config, [f"task-{i}" for i in range(tasks)], [observation] * tasks, [6] * tasks)
        assert sum(p.numel() for p in model.parameters()) == count
        assert size_name(config) == size


def test_other_widths_have_no_name():
    for name in ("tiny", "small"):
        assert size_name(SIZES[name]) is None
    assert size_name(dataclasses.replace(SIZES["5"], latent_dim=768)) is None
    assert size_name(dataclasses.replace(SIZES["48"], latent_dim=512)) is None


def size_1(era: str, tasks: int = 0, seed: int = 0) -> Published:
    widths = {"latent": 128, "encoder": (256,), "units": (384, 384), "task_dim": 96, "critics": 2}
    return Published(era, tasks, 24, 6, seed=seed, **widths)


@pytest.mark.parametrize("era", ["sequential", "flat", "named"])
def test_a_file_of_the_smallest_size(saved, era):
    checkpoint = read_checkpoint(saved(size_1(era)), ["walker-run"])
    assert checkpoint.about["size"] == "1"
    assert checkpoint.model.config == dataclasses.replace(SIZES["1"], task_dim=0)


TASKS = ["walker-run", "cup-catch", "cartpole-swingup"]


@pytest.mark.parametrize(
    ("agent", "tasks", "message"),
    [
        (
            {"tasks": 3},
            [],
            "3 tasks, observations of width 24, actions of width 6 is no known task set; name its tasks",
        ),
        ({"tasks": 0}, [], "1 task, observations of width 24"),
        ({"tasks": 3}, TASKS[:2], "has 3 tasks, but --task names 2"),
        ({"tasks": 3}, ["walker-run", "cup-catch", "no-such"], "unknown task 'no-such'"),
        ({"tasks": 3}, TASKS[1:] + ["reacher-easy"], "has (observation, action) widths (24, 6), but cup-catch, "),
        ({"tasks": 0}, ["cup-catch"], "has (observation, action) widths (24, 6), but cup-catch has (8, 2)"),
        ({"tasks": 3, "latent": 20}, TASKS, "its latent has width 20, no multiple of 8"),
        ({"tasks": 3, "bins": 1}, TASKS, "its reward has 1 outputs; only the two-hot code of 101 bins"),
        ({"tasks": 3, "bins": 51}, TASKS, "its reward has 51 outputs"),
    ],
)
def test_refusals(saved, agent, tasks, message):
    agent = {"latent": 24} | agent
    if agent["latent"] % 8:
        file = saved(without_groups(agent))
    else:
        file = saved(Published("flat", agent.pop("tasks"), 24, 6, **agent))
    with pytest.raises(PWMError) as error:
        read_checkpoint(file, tasks)
    assert message in str(error.value) and (str(file) in str(error.value) or "unknown task" in message)


def without_groups(agent: dict) -> Published:
    return Published("flat", agent["tasks"], 24, 6, latent=agent["latent"])


def test_a_single_task_may_be_unknown(saved):
    checkpoint = read_checkpoint(saved(Published("sequential", 0, 67, 24)), ["humanoid-walk"])
    model = checkpoint.model
    assert (model.tasks, model.observation_dims, model.action_dims) == (("humanoid-walk",), (67,), (24,))


def test_action_masks_are_compared(saved):
    agent = Published("named", 3, 24, 6)
    agent.register_buffer("_action_masks", torch.ones(3, 6))
    with pytest.raises(PWMError, match="its action masks are not those of these tasks"):
        read_checkpoint(saved(agent), TASKS)
    agent._action_masks = (torch.arange(6)[None] < torch.tensor([6, 2, 1])[:, None]).float()
    assert read_checkpoint(saved(agent), TASKS).model.action_dims == (6, 2, 1)
