"""Large models: micro-batches and recomputation change what a gradient step needs, and not what it computes."""

from dataclasses import replace

import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.runtime.memory import peak_bytes
from pwm.world_model.config import PretrainConfig, WorldModelConfig, world_model_size
from pwm.world_model.loss import world_model_loss
from pwm.world_model.pretrain import Pretrainer, backward, build_pretrainer, micro_batches, pretrain
from tests.interrupt import updates_of
from tests.stores import drifting_points

MODEL = world_model_size("tiny", episodic=True)
CONFIG = PretrainConfig(updates=4, batch_size=24, horizon=6, held_out=0.0, checkpoint_every=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return drifting_points(tmp_path_factory.mktemp("memory") / "store")


def trainer(store, model=MODEL, **changes):
    """A trainer whose every layer passes gradients on."""
    out = build_pretrainer(store, model, replace(CONFIG, **changes))
    generator = torch.Generator().manual_seed(0)
    for parameter in out.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return out


def gradients(trainer):
    losses = backward(trainer.model, trainer.loss, trainer.sampler(0), trainer.config)
    return losses, {name: p.grad for name, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("changes", [{"micro_batch": 24}, {"micro_batch": 5}, {"micro_batch": 1}])
def test_micro_batches_add_up_to_the_batch(store, changes):
    whole, expected = gradients(trainer(store))
    parts, ours = gradients(trainer(store, **changes))
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-5, atol=2e-6, msg=name)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("steps", [1, 4, 6, 9])
def test_recomputation_changes_no_gradient(store, steps):
    whole, expected = gradients(trainer(store))
    _, ours = gradients(trainer(store, recompute_steps=steps))
    for name, value in expected.items():
        if steps >= CONFIG.horizon:
            assert torch.equal(ours[name], value), name  # one block: the same operations
        torch.testing.assert_close(ours[name], value, rtol=2e-5, atol=2e-6, msg=name)


def test_recomputation_in_float64_is_exact_to_rounding(store):
    grads = []
    for steps in (0, 2):
        t = trainer(store, recompute_steps=steps)
        t.model.double()
        batch = t.sampler(0)
        batch = batch._replace(**{n: getattr(batch, n).double() for n in ("observations", "actions", "rewards")})
        loss, _ = world_model_loss(t.model, batch, t.config)
        grads.append(torch.autograd.grad(loss, list(t.model.parameters())))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_parts_cover_a_batch_once_and_grow_as_slices_shrink(store):
    t = trainer(store, micro_batch=5, short_horizons=(2,))
    batch = t.sampler(0)
    assert batch.rewards.shape == (2, 72)  # as many transitions as 24 slices of 6
    parts = list(micro_batches(batch, t.config))
    assert [len(part.tasks) for part, _ in parts] == [15, 15, 15, 15, 12]
    assert sum(share for _, share in parts) == pytest.approx(1.0)
    for name in batch._fields:
        dim = 0 if name == "tasks" else 1
        assert torch.equal(torch.cat([getattr(part, name) for part, _ in parts], dim), getattr(batch, name))


def test_memory_falls_as_it_should(store):
    """With H = 6 steps kept one by one about a sixth of the activations is left, and with an eighth of the slices an
    eighth, plus what does not depend on them."""
    wide = WorldModelConfig(latent_dim=32, encoder_units=(32,), units=(64, 64), task_dim=8)

    def needed(**changes):
        t = trainer(store, wide, batch_size=128, **changes)
        t.update()  # Adam's moments are there from now on
        return peak_bytes(t.update, "cpu")

    whole, recomputed, parts = needed(), needed(recompute_steps=1), needed(micro_batch=16)
    assert recomputed < 0.4 * whole and parts < 0.3 * whole
    assert needed(micro_batch=16, recompute_steps=1) < min(recomputed, parts)


def test_settings_that_make_no_sense_are_named():
    with pytest.raises(PWMError, match="micro_batch is 0"):
        PretrainConfig(micro_batch=0)
    with pytest.raises(PWMError, match="recompute_steps is -1"):
        PretrainConfig(recompute_steps=-1)


def test_resume_equals_uninterrupted(store, tmp_path):
    config = replace(CONFIG, micro_batch=7, recompute_steps=2)
    whole = pretrain(store, tmp_path / "a", MODEL, config)
    with pytest.raises(KeyboardInterrupt), updates_of(Pretrainer, stop=3):
        pretrain(store, tmp_path / "b", MODEL, config)
    resumed = pretrain(store, tmp_path / "b", MODEL, config)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
