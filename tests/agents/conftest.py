"""A small store and world model to learn policies in."""

import numpy as np
import pytest

from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel
from tests.stores import random_store

DIMS = {"wide": (5, 3), "narrow": (2, 1)}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("policy") / "store"
    return random_store(path, DIMS, [12] * 4, rewards=lambda observations, _: np.abs(observations[1:, 0]))


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
