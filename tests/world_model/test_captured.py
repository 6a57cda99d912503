"""A gradient step of the world model as a CUDA graph: nothing in it waits, and buffers in between change no bit."""

from dataclasses import replace

import pytest
import torch

from pwm.world_model.config import PretrainConfig, world_model_size
from pwm.world_model.pretrain import build_pretrainer
from tests.stores import drifting_points

MODEL = world_model_size("tiny", episodic=True)
CONFIG = PretrainConfig(updates=6, batch_size=8, horizon=4, short_horizons=(2,), micro_batch=5, recompute_steps=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return drifting_points(tmp_path_factory.mktemp("captured") / "store")


def test_buffers_in_between_change_no_bit(store):
    plain, captured = (build_pretrainer(store, MODEL, replace(CONFIG, cuda_graph=c)) for c in (False, True))
    for _ in range(6):
        ours, theirs = captured.update(), plain.update()
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    for a, b in zip(plain.model.parameters(), captured.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def meta(store, monkeypatch):
    """A trainer on the meta device, whose tensors have shapes and no data: what would wait for a device fails there."""
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # PyTorch's own business, and not for meta tensors
    return build_pretrainer(store, MODEL, CONFIG, device="meta")


def test_an_update_reads_nothing_back_and_its_shapes_depend_on_no_data(meta):
    for _ in range(6):
        values = meta.update()
    assert values["loss"].shape == () and values["loss"].device.type == "meta"


def test_what_waits_is_caught(meta):
    loss = meta.loss

    def waits(*args):
        value, parts = loss(*args)
        assert value.item() >= 0
        return value, parts

    meta.loss = waits
    with pytest.raises(RuntimeError, match="meta"):
        meta.update()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_update_equals_the_update(store, precision):
    config = replace(CONFIG, updates=20, precision=precision)
    plain, captured = (
        build_pretrainer(store, MODEL, replace(config, cuda_graph=c), device="cuda") for c in (False, True)
    )
    for _ in range(20):
        ours, theirs = ({n: float(v) for n, v in trainer.update().items()} for trainer in (captured, plain))
        assert ours == pytest.approx(theirs, rel=1e-3)
    for (name, a), b in zip(plain.model.named_parameters(), captured.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)
