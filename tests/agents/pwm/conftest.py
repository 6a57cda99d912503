"""A small store and world model to learn policies in."""

import numpy as np
import pytest

from pwm.data.store import open_store
from pwm.data.writer import StoreWriter
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel

DIMS = {"wide": (5, 3), "narrow": (2, 1)}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("policy") / "store"
    random = np.random.default_rng(0)
    with StoreWriter(path) as writer:
        for task, (o, a) in DIMS.items():
            writer.add_task(task, o, a, episode_length=12, action_repeat=2)
            for _ in range(4):
                observations = random.normal(size=(13, o)).astype(np.float32)
                actions = random.uniform(-1, 1, size=(12, a)).astype(np.float32)
                writer.add_episode(task, observations, actions, random.uniform(0, 2, size=12).astype(np.float32))
    return open_store(path)


@pytest.fixture
def model(store):
    model = WorldModel(world_model_size("tiny"), store.tasks, [5, 2], [3, 1], seed=0)
    torch_init(model)
    return model.freeze()


def torch_init(model):
    """Weights large enough that actions and rewards matter."""
    import torch

    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[1] ** 0.5)
