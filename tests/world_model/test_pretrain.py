"""Pre-training: it learns, resumes to the same bits, and refuses what does not belong together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pwm.data.sampler import SliceSampler, split_episodes
from pwm.data.store import EpisodeStore, open_store
from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import MetricsLog, read_metrics
from pwm.world_model.config import PretrainConfig, world_model_size
from pwm.world_model.files import load_world_model, world_model_path
from pwm.world_model.loss import world_model_loss
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import Pretrainer, build_pretrainer, pretrain
from tests.interrupt import updates_of
from tests.stores import drifting_points

MODEL = world_model_size("tiny")
CONFIG = PretrainConfig(
    updates=8,
    short_horizons=(2,),
    batch_size=16,
    horizon=3,
    held_out=0.25,
    evaluate_every=4,
    checkpoint_every=3,
    normalise_observations=True,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return drifting_points(tmp_path_factory.mktemp("pretrain") / "store")


def _observations(store, task, episode):
    data = store[task]
    return np.array(data.observations[data.offsets[episode] + episode : data.offsets[episode + 1] + episode + 1])


def test_the_loss_falls_and_rewards_are_predicted(store):
    config = replace(CONFIG, updates=150, learning_rate=3e-3, final_learning_rate=1e-4, warmup=10, batch_size=64)
    trainer = build_pretrainer(store, MODEL, config)
    losses = [float(trainer.update()["loss"]) for _ in range(150)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    measured = trainer.measure()
    assert measured["foresight/one"] > 0.8 and "held_out_latent_loss" in measured


def test_learning_rate_schedule(store):
    trainer = build_pretrainer(store, MODEL, replace(CONFIG, updates=11, warmup=1, final_learning_rate=0.0))
    rates = [trainer.learning_rate(step) for step in range(11)]
    assert rates[0] == pytest.approx(1.5e-4) and rates[5] == pytest.approx(1.5e-4) and rates[10] == 0.0
    assert build_pretrainer(store, MODEL, CONFIG).learning_rate(7) == CONFIG.learning_rate
    trainer.update()
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(0.3 * rates[0])


def test_observations_are_normalised_by_the_training_episodes(store):
    trainer = build_pretrainer(store, MODEL, CONFIG)
    observations = trainer.sampler(0).observations[:, :, :2]
    scaled = observations * trainer.model.observation_scale[0] - trainer.model.observation_shift[0]
    assert scaled.abs().mean() < 3
    train, held_out = split_episodes(store, CONFIG.held_out, 0)
    for row, task in enumerate(store.tasks):
        rows = np.concatenate([_observations(store, task, e) for e in train[task]]).astype(float)
        shown = rows * trainer.model.observation_scale[row].numpy() - trainer.model.observation_shift[row].numpy()
        np.testing.assert_allclose(shown.mean(0), 0.0, atol=1e-5)
        np.testing.assert_allclose(shown.std(0, ddof=1), 1.0, rtol=1e-4)
    plain = build_pretrainer(store, MODEL, replace(CONFIG, normalise_observations=False)).model
    assert torch.equal(plain.observation_scale, torch.ones(2, 2)) and not plain.observation_shift.any()


@pytest.mark.parametrize("scale", [1e6, 1e-4])
def test_rewards_that_the_code_does_not_hold_are_divided(tmp_path, scale):
    """The model learns rewards in units of its own and returns them in those of the data."""
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path) as writer:
        writer.add_task("line", 2, 1, 20, 1)
        for _ in range(20):
            actions = rng.uniform(-1, 1, (20, 1))
            x = np.concatenate([[0.0], np.cumsum(0.1 * actions[:, 0])]) + rng.uniform(-1, 1)
            rewards = scale * (2 + np.sin(x[:-1]) + actions[:, 0])
            writer.add_episode("line", np.stack([x, np.sin(x)], 1), actions, rewards)
    store = open_store(tmp_path)
    config = PretrainConfig(updates=400, batch_size=64, horizon=3, learning_rate=1e-3, held_out=0.2, evaluate_every=400)
    trainer = build_pretrainer(store, MODEL, config)
    assert 0.5 < trainer.model.reward_scale[0] / scale < 50
    for _ in range(400):
        trainer.update()
    data, bound = store["line"], trainer.model.bind(["line"])
    rows = np.arange(400) + np.arange(400) // 20
    with torch.no_grad():
        latents = bound.encode(torch.from_numpy(np.array(data.observations[rows])).unsqueeze(0))
        foretold = bound.reward(latents, torch.from_numpy(np.array(data.actions)).unsqueeze(0))[0].numpy()
    assert np.abs(foretold - data.rewards).mean() < 0.3 * data.rewards.std()
    error = trainer.measure()["reward_error/line"]
    assert 0.01 * scale < error < 0.5 * scale


def test_small_units_are_normalised_like_large_ones(tmp_path):
    """The same motion in metres and in micrometres: the same normalised observations."""
    rng = np.random.default_rng(0)
    motion = rng.normal(size=(5, 11, 2))
    for name, unit in (("m", 1.0), ("um", 1e-6)):
        with StoreWriter(tmp_path / name) as writer:
            writer.add_task("one", 2, 1, 10, 1)
            for episode in motion:
                writer.add_episode("one", (unit * episode).astype("f4"), np.zeros((10, 1)), np.zeros(10))
    config = PretrainConfig(batch_size=4, horizon=2)
    models = [build_pretrainer(open_store(tmp_path / name), MODEL, config).model for name in ("m", "um")]
    seen = [
        unit * torch.from_numpy(motion).float() * m.observation_scale - m.observation_shift
        for unit, m in zip((1.0, 1e-6), models, strict=True)
    ]
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-4)


def test_training_and_held_out_slices_come_from_apart(store):
    trainer = build_pretrainer(store, MODEL, replace(CONFIG, batch_size=256), seed=3)
    for task, episodes in split_episodes(store, CONFIG.held_out, 3)[1].items():
        reserved = {float(x) for e in episodes for x in _observations(store, task, e)[1:, 0]}
        row = store.tasks.index(task)
        for batch, inside in ((trainer.sampler(7), False), (trainer.held_out, True)):
            ends = batch.observations[-1, batch.tasks == row, 0].tolist()
            assert len(ends) > 9 and all((x in reserved) == inside for x in ends)


def test_the_seed_reaches_weights_and_batches_and_early_starts_the_slices(store):
    first, same, other = (build_pretrainer(store, MODEL, replace(CONFIG, held_out=0.0), seed=s) for s in (0, 0, 1))
    assert torch.equal(first.model.embedding, same.model.embedding)
    assert not torch.equal(first.model.embedding, other.model.embedding)
    a, b, c = (trainer.sampler(0).observations for trainer in (first, same, other))
    assert torch.equal(a, b) and not torch.equal(a, c)
    early = build_pretrainer(store, MODEL, replace(CONFIG, early_starts=1.0)).sampler(7).observations
    starts = {float(_observations(store, task, e)[t, 0]) for task in store.tasks for e in range(8) for t in (0, 1)}
    assert {float(x) for x in early[0, :, 0]} <= starts


def test_an_update_clips_the_gradient_and_bounds_the_embedding(store):
    trainer = build_pretrainer(store, MODEL, replace(CONFIG, grad_norm=1e-3))
    with torch.no_grad():
        trainer.model.embedding.fill_(5.0)
    norm = trainer.update()["grad_norm"]
    moments = torch.stack([state["exp_avg"].norm() for state in trainer.optimiser.state.values()])
    assert norm > 1e-2 and float(moments.norm()) == pytest.approx(0.1 * 1e-3, rel=1e-3)  # Adam keeps a tenth of it
    torch.testing.assert_close(trainer.model.embedding.norm(dim=1), torch.ones(2))


def test_bfloat16_stays_close_and_resumes_to_the_same_bits(store, tmp_path):
    config = replace(CONFIG, precision="bfloat16")
    exact, low, again = (build_pretrainer(store, MODEL, c) for c in (CONFIG, config, config))
    assert {part.precision for part in low.model.children()} == {"bfloat16"}
    for _ in range(3):
        expected, ours = exact.update()["loss"], low.update()["loss"]
        torch.testing.assert_close(ours, expected, rtol=1e-2, atol=0)
        assert ours != expected
    low.save(tmp_path / "checkpoint")
    again.load(tmp_path / "checkpoint")
    low.update(), again.update()
    for a, b in zip(low.model.parameters(), again.model.parameters(), strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b)


def test_short_horizons_come_first_with_as_many_transitions(store):
    trainer = build_pretrainer(store, MODEL, replace(CONFIG, updates=6, batch_size=4, horizon=8, short_horizons=(2, 4)))
    shapes = [trainer.sampler(step).rewards.shape for step in range(7)]
    assert shapes == [(2, 16), (2, 16), (4, 8), (4, 8), (8, 4), (8, 4), (8, 4)]
    with pytest.raises(PWMError, match="short_horizons"):
        build_pretrainer(store, MODEL, replace(CONFIG, short_horizons=(9,)))


def test_resume_equals_uninterrupted(store, tmp_path):
    whole = pretrain(store, tmp_path / "a", MODEL, CONFIG)
    with pytest.raises(KeyboardInterrupt), updates_of(Pretrainer, stop=4):
        pretrain(store, tmp_path / "b", MODEL, CONFIG)
    assert not world_model_path(tmp_path / "b").exists()
    with MetricsLog(tmp_path / "b", tensorboard=False) as log:
        log.write("world_model", 4, {"loss": 0.0})  # after the checkpoint: written again by the resumed run
    with updates_of(Pretrainer) as again:
        resumed = pretrain(store, tmp_path / "b", MODEL, CONFIG)
        assert again == [3, 4, 5, 6, 7]  # from the checkpoint at update 3
        finished = pretrain(store, tmp_path / "b", MODEL, CONFIG)
        assert len(again) == 5 and torch.equal(finished.embedding, resumed.embedding)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert [line["step"] for line in read_metrics(tmp_path / "b")] == [8]


def test_other_settings_or_data_are_refused(store, tmp_path, monkeypatch):
    pretrain(store, tmp_path, MODEL, CONFIG)
    with pytest.raises(PWMError, match="settings.rho"):
        pretrain(store, tmp_path, MODEL, replace(CONFIG, rho=0.5))
    with pytest.raises(PWMError, match="seed 0, now it is 1"):
        pretrain(store, tmp_path, MODEL, CONFIG, seed=1)
    with pytest.raises(PWMError, match="model.config.task_dim"):
        pretrain(store, tmp_path, world_model_size("tiny", task_dim=4), CONFIG)
    monkeypatch.setattr(EpisodeStore, "fingerprint", lambda self: "changed")
    with pytest.raises(PWMError, match="was made with other data; use the same data"):
        pretrain(store, tmp_path, MODEL, CONFIG)


def test_world_model_file_round_trip_and_damage(store, tmp_path):
    model = pretrain(store, tmp_path, MODEL, CONFIG)
    loaded = load_world_model(tmp_path)
    assert loaded.tasks == ("one", "two") and loaded.action_dims == (1, 2)
    for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    path = world_model_path(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PWMError, match="safetensors"):
        load_world_model(tmp_path)
    with pytest.raises(PWMError, match="run `pwm pretrain"):
        load_world_model(tmp_path.parent)


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_that_are_not_finite_stop_with_advice(store, tmp_path, monkeypatch, name, value):
    update = Pretrainer.update

    def broken(self):
        return update(self) | ({name: torch.tensor(float(value))} if self.updates == 6 else {})

    monkeypatch.setattr(Pretrainer, "update", broken)
    with pytest.raises(PWMError, match=f"{name} is {value} at update 6; .*lower learning_rate.*checkpoint") as caught:
        pretrain(store, tmp_path, MODEL, CONFIG)
    checkpoint = world_model_path(tmp_path).with_name("checkpoint.safetensors")
    assert str(checkpoint) in str(caught.value)
    kept = build_pretrainer(store, MODEL, CONFIG)
    kept.load(checkpoint)
    assert kept.updates == 3 and not world_model_path(tmp_path).exists()


def test_a_held_out_split_of_short_episodes_is_not_measured(tmp_path):
    store = drifting_points(tmp_path / "store", lengths=(2, 2, 2, 2, 2, 2, 2, 20))
    seed = next(s for s in range(99) if all(7 not in e for e in split_episodes(store, 0.25, s)[1].values()))
    trainer = build_pretrainer(store, MODEL, CONFIG, seed=seed)
    assert trainer.held_out is None and trainer.measure() == {}
    trainer.update()


def test_a_trainer_goes_on_with_other_data_and_another_loss_from_a_checkpoint_of_its_owner(store):
    """As a loop that collects data does: one model and optimiser, a sampler per round, a constant step size."""
    batches = [SliceSampler(store, 3, 16, seed).sample for seed in (1, 2)]

    def rewards_alone(model, batch, config):
        return world_model_loss(model, batch, replace(config, latent_weight=0.0))

    def make():
        model = WorldModel(MODEL, store.tasks, [2, 2], [1, 2])
        return Pretrainer(model, batches[0], rewards_alone, replace(CONFIG, updates=1))

    whole, first, second = make(), make(), make()
    for trainer in (whole, first):
        trainer.update(), trainer.update()
    second.restore({name: tensor.clone() for name, tensor in first.tensors().items()}, first.updates, "round")
    for trainer in (whole, second):
        trainer.sampler = batches[1]
        trainer.update()
    assert second.updates == 3 and second.learning_rate(1000) == CONFIG.learning_rate
    for (name, a), b in zip(whole.model.named_parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    losses = second.update()
    torch.testing.assert_close(losses["loss"], CONFIG.reward_weight * losses["reward_loss"])
    first.update()  # with the sampler of the first round
    assert not torch.equal(first.model.embedding, whole.model.embedding)
