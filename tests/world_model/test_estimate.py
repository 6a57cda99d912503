"""What pre-training is said to cost, against what it does."""

from dataclasses import replace

import pytest

from pwm.runtime.memory import peak_bytes
from pwm.world_model import estimate as cost
from pwm.world_model.config import PretrainConfig, world_model_size
from pwm.world_model.estimate import estimate_pretrain, pretrain_bytes
from pwm.world_model.pretrain import build_pretrainer
from tests.stores import drifting_points

MODEL = world_model_size("tiny", episodic=True)
CONFIG = PretrainConfig(updates=50, batch_size=40, horizon=5, held_out=0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return drifting_points(tmp_path_factory.mktemp("cost") / "store")


@pytest.mark.parametrize(
    "changes",
    [{}, {"micro_batch": 9}, {"recompute_steps": 2}, {"precision": "bfloat16"}],
    ids=["plain", "parts", "recompute", "low"],
)
def test_the_rehearsal_finds_what_a_real_update_needs(store, changes):
    config = replace(CONFIG, **changes)
    trainer = build_pretrainer(store, MODEL, config)
    trainer.update()  # from now on Adam's moments are there
    trainer.model.zero_grad(set_to_none=True)
    weights = sum(4 * p.numel() for p in trainer.model.parameters())
    real = 3 * weights + peak_bytes(trainer.update, "cpu")
    said = pretrain_bytes(MODEL, config, 2, store.observation_dim, store.action_dim)
    assert said == pytest.approx(real, rel=0.05)


def test_an_estimate_is_updates_times_the_line(store, monkeypatch):
    asked = []

    def timed(make, size, device, start):
        asked.append(size)
        make(4)()  # a real gradient step
        return [(10, 1.0), (20, 1.5)]

    monkeypatch.setattr(cost, "timed", timed)
    found = estimate_pretrain(store, MODEL, CONFIG, "cpu")
    assert asked == [40] and found.seconds == 50 * 2.5
    assert found.peak_bytes == pretrain_bytes(MODEL, CONFIG, 2, store.observation_dim, store.action_dim)
    assert found.measured == "updates of 10 slices: 1 s, 20 slices: 1.5 s"


@pytest.mark.slow
def test_a_few_updates_of_317m_fit_in_24_gb():
    """In a process of its own; the checkpoint included. Takes about two minutes."""
    from benchmarks.large_models import CASES, run_case

    found = run_case(CASES["317/micro-batch 8, recompute 4"])
    assert found["parameters"] > 100e6
    assert found["process_bytes_with_checkpoint"] < 24e9
    assert all(loss > 0 for loss in found["losses"])
