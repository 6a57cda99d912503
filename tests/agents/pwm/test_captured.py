"""An update of a fleet as a CUDA graph: nothing in it waits for the device, and buffers in between change no bit."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learner import FleetLearner
from pwm.learning.optimiser import adam
from pwm.world_model.bound import BoundModel
from tests.agents.pwm.test_learner import state

CONFIG = PolicyConfig(
    updates=8,
    batch_size=4,
    horizon=2,
    actor_units=(8,),
    critic_units=(8,),
    critic_passes=2,
    critic_splits=2,
    behaviour_weight=0.3,
    behaviour_updates=2,
    behaviour_batch=8,
    critic_warmup=2,
    actor_average=0.9,
    critic_average=0.9,
)
MEMBERS = (("wide", "narrow", "wide"), (0, 0, 1))


@pytest.mark.parametrize("behaviour", [True, False])
def test_buffers_in_between_change_no_bit(model, store, behaviour):
    config = CONFIG if behaviour else replace(CONFIG, behaviour_weight=0.0, behaviour_updates=0)
    plain, captured = (FleetLearner(model, store, *MEMBERS, replace(config, cuda_graph=c)) for c in (False, True))
    for _ in range(7):
        ours, theirs = captured.update(), plain.update()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name, value in state(plain).items():
        assert torch.equal(value, state(captured)[name]), name


def train_further(model):
    """A fused step of Adam on all of the world model's weights, as an on-line loop takes between two policy updates."""
    model.requires_grad_(True)
    optimiser = adam(model.parameters(), model.embedding.device, 0.05)
    bound = model.bind(model.tasks)
    z = bound.encode(torch.ones(2, 3, 5, device=model.embedding.device))
    action = torch.ones(2, 3, 3, device=z.device)
    (bound.step(z, action).square().sum() + bound.reward_logits(z, action).square().sum()).backward()
    optimiser.step()
    model.freeze()


def follows_the_world_model(model, store, config, path, device="cpu"):
    """After a refresh, a fleet goes on like one that is made anew in the world model as it has become."""
    learner = FleetLearner(model, store, *MEMBERS, config, device)
    for _ in range(10):
        learner.update()
    train_further(model)
    learner.refresh()
    learner.save(path)
    second = FleetLearner(model, store, *MEMBERS, config, device)
    second.load(path)
    for _ in range(6):
        ours, theirs = ({n: v.tolist() for n, v in fleet.update().items()} for fleet in (learner, second))
        assert ours == (
            theirs if device == "cpu" else {n: pytest.approx(v, rel=1e-3, abs=1e-4) for n, v in theirs.items()}
        )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fleet_follows_a_world_model_that_is_trained_further(model, store, tmp_path, precision, monkeypatch):
    config = replace(CONFIG, updates=20, cuda_graph=True, precision=precision)
    follows_the_world_model(deepcopy(model), store, config, tmp_path / "checkpoint")
    monkeypatch.setattr(BoundModel, "refresh", lambda self: None)
    with pytest.raises(AssertionError):
        follows_the_world_model(model, store, config, tmp_path / "checkpoint")


@pytest.fixture
def meta(model, store, monkeypatch):
    """A fleet on the meta device, whose tensors have shapes and no data: what would wait for a device fails there."""
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # PyTorch's own business, and not for meta tensors
    return FleetLearner(model.to("meta"), store, *MEMBERS, CONFIG, "meta")


def test_an_update_reads_nothing_back_and_its_shapes_depend_on_no_data(meta):
    for _ in range(7):  # imitation, critics alone, both
        values = meta.update()
    assert values["critic_loss"].shape == (3,) and values["critic_loss"].device.type == "meta"


@pytest.mark.parametrize(
    "wait",
    [lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: x[x > 0], lambda x: x.cpu(), lambda x: bool(x.any())],
    ids=["item", "tolist", "mask", "cpu", "bool"],
)
def test_what_waits_is_caught(meta, monkeypatch, wait):
    from pwm.agents.pwm import learner

    gradients = learner.critic_gradients
    monkeypatch.setattr(learner, "critic_gradients", lambda *args: wait(gradients(*args)[0]) or gradients(*args))
    meta.update(), meta.update()  # imitation has no critics
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        meta.update()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_update_equals_the_update(model, store, precision):
    config = replace(CONFIG, updates=30, behaviour_updates=8, critic_warmup=8, precision=precision)
    model.to("cuda")
    plain, captured = (
        FleetLearner(model, store, *MEMBERS, replace(config, cuda_graph=c), "cuda") for c in (False, True)
    )
    for _ in range(config.total_updates):
        ours, theirs = ({n: v.tolist() for n, v in learner.update().items()} for learner in (captured, plain))
        assert ours == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in theirs.items()}
    for name, value in state(plain).items():
        torch.testing.assert_close(state(captured)[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_fleet_follows_a_world_model_that_is_trained_further(model, store, tmp_path, precision):
    config = replace(CONFIG, updates=20, cuda_graph=True, precision=precision)
    follows_the_world_model(model.to("cuda"), store, config, tmp_path / "checkpoint", "cuda")


@pytest.mark.gpu
def test_a_recorded_fleet_resumes(model, store, tmp_path):
    model.to("cuda")
    config = replace(CONFIG, cuda_graph=True)
    whole, first, second = (FleetLearner(model, store, *MEMBERS, config, "cuda") for _ in "abc")
    for _ in range(10):
        whole.update()
    for _ in range(5):
        first.update()
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    for _ in range(5):
        second.update()
    for name, value in state(whole).items():
        torch.testing.assert_close(state(second)[name], value, rtol=1e-4, atol=1e-5, msg=name)
