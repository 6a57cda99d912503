"""A small world model, fleet and batch, in the library's form and in the reference's."""

import pytest

from benchmarks import workload
from pwm.agents.pwm.config import PolicyConfig
from pwm.world_model.config import PretrainConfig, WorldModelConfig

SIZES = {"wide": (7, 3), "narrow": (4, 2), "one": (2, 1)}
MODEL = WorldModelConfig(latent_dim=48, encoder_units=(40, 24), units=(56, 40), task_dim=6, bins=21)
POLICY = PolicyConfig(
    updates=20,
    batch_size=8,
    horizon=5,
    actor_units=(20, 12),
    critic_units=(18, 10),
    critic_passes=3,
    critic_splits=2,
    detach_actor_input=False,
    return_scale="none",
    precision="float32",
)
PRETRAIN = PretrainConfig(
    batch_size=10,
    horizon=6,
    updates=4,
    held_out=0.0,
    grad_norm=0.5,
    precision="float32",
    normalise_observations=False,
)


@pytest.fixture(scope="session")
def store():
    with workload.synthetic_store(SIZES, episodes=3, length=12) as store:
        yield store


@pytest.fixture
def model(store):
    return workload.world_model(MODEL, store)
