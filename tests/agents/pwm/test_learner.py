"""The fleet: members are independent, resuming changes nothing, the world model is left alone."""

from dataclasses import replace

import pytest
import torch

from pwm.acting.policy_file import find_policies
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learn import learn
from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import read_metrics
from tests.interrupt import updates_of

CONFIG = PolicyConfig(
    updates=12,
    batch_size=8,
    horizon=4,
    actor_units=(16, 8),
    critic_units=(16,),
    critic_passes=2,
    behaviour_weight=0.3,
    actor_average=0.9,
    critic_average=0.9,
    checkpoint_every=5,
    log_every=3,
)


def fleet(model, store, members, config=CONFIG):
    return FleetLearner(model, store, *zip(*members, strict=True), config)


def state(learner, member=None):
    rows = {}
    for name in ("actor", "critic", "averaged_actor", "target_critic"):
        for key, value in getattr(learner, name).state_dict().items():
            value = value.view(learner.members, -1, *value.shape[1:])
            rows[f"{name}.{key}"] = value if member is None else value[member]
    return rows


def test_a_member_equals_the_policy_trained_alone(model, store):
    members = [("wide", 0), ("narrow", 0), ("wide", 1)]
    together = fleet(model, store, members)
    together_metrics = [together.update() for _ in range(6)]
    for k, member in enumerate(members):
        alone = fleet(model, store, [member])
        metrics = [alone.update() for _ in range(6)]
        for name, value in state(alone, 0).items():
            torch.testing.assert_close(value, state(together, k)[name], rtol=1e-4, atol=2e-5, msg=name)
        torch.testing.assert_close(metrics[-1]["imagined_return"][0], together_metrics[-1]["imagined_return"][k])
    assert not torch.allclose(together.actor.net.weights[0][0], together.actor.net.weights[0][2])


def test_updates_move_what_they_should(model, store):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learner = fleet(model, store, [("wide", 0)])
    start = {name: value.clone() for name, value in state(learner).items()}
    learner.update()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    moved = {name for name, value in state(learner).items() if not torch.equal(value, start[name])}
    assert moved == set(start)


def test_learning_raises_the_imagined_return(model, store):
    config = replace(CONFIG, updates=60, behaviour_weight=0.0, actor_learning_rate=3e-3, actor_average=0.0)
    learner = fleet(model, store, [("wide", 0), ("narrow", 0)], config)
    rewards = torch.stack([learner.update()["imagined_reward"] for _ in range(60)])
    assert (rewards[-5:].mean(0) > rewards[:5].mean(0)).all()


def test_resume_equals_uninterrupted(model, store, tmp_path):
    members = [("wide", 0), ("narrow", 3)]
    whole, first, second = (fleet(model, store, members) for _ in range(3))
    for _ in range(7):
        whole.update()
    for _ in range(3):
        first.update()
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    for _ in range(4):
        second.update()
    for name, value in state(whole).items():
        assert torch.equal(value, state(second)[name]), name


def test_checkpoint_of_other_settings_is_refused(model, store, tmp_path):
    fleet(model, store, [("wide", 0)]).save(tmp_path / "checkpoint")
    with pytest.raises(PWMError, match="policy.gamma = 0.99, now it is 0.9"):
        fleet(model, store, [("wide", 0)], replace(CONFIG, gamma=0.9)).load(tmp_path / "checkpoint")
    with pytest.raises(PWMError, match="made with other tasks or seeds"):
        fleet(model, store, [("narrow", 0)]).load(tmp_path / "checkpoint")


def test_learn_resumes_after_an_interruption(model, store, tmp_path):
    whole = learn(model, store, tmp_path / "a", ["wide", "narrow"], CONFIG)
    with pytest.raises(KeyboardInterrupt), updates_of(FleetLearner, stop=7):
        learn(model, store, tmp_path / "b", ["wide", "narrow"], CONFIG)
    with updates_of(FleetLearner) as again:
        resumed = learn(model, store, tmp_path / "b", ["wide", "narrow"], CONFIG)
    assert again == [5, 6, 7, 8, 9, 10, 11]
    for a, b in zip(whole, resumed, strict=True):
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y)


def test_a_run_may_hold_several_fleets_but_none_overwrites_another(model, store, tmp_path):
    (first,) = learn(model, store, tmp_path, ["wide"], CONFIG)
    learn(model, store, tmp_path, ["narrow"], CONFIG, seeds=[0, 1])
    assert len(find_policies(tmp_path)) == 3
    with pytest.raises(PWMError, match="another fleet"):
        learn(model, store, tmp_path, ["wide", "narrow"], CONFIG)
    (again,) = learn(model, store, tmp_path, ["wide"], CONFIG)
    assert torch.equal(first.actor.log_std, again.actor.log_std)
    assert {(line["task"], line["seed"]) for line in read_metrics(tmp_path)} == {
        ("wide", 0),
        ("narrow", 0),
        ("narrow", 1),
    }


def test_phases_of_an_update(model, store):
    config = replace(CONFIG, behaviour_updates=2, critic_warmup=2, actor_average=0.0)
    learner = fleet(model, store, [("wide", 0)], config)
    snapshots = []
    for _ in range(6):
        learner.update()
        snapshots.append((learner.actor.net.weights[0].clone(), learner.critic.net.weights[0].clone()))
    actor_moves = [not torch.equal(a[0], b[0]) for a, b in zip(snapshots[:-1], snapshots[1:], strict=True)]
    critic_moves = [not torch.equal(a[1], b[1]) for a, b in zip(snapshots[:-1], snapshots[1:], strict=True)]
    assert actor_moves == [True, False, False, True, True] and critic_moves == [False, True, True, True, True]


def test_other_data_is_refused(model, store, tmp_path, monkeypatch):
    learner = fleet(model, store, [("wide", 0)])
    learner.save(tmp_path / "checkpoint")
    monkeypatch.setattr(type(store), "fingerprint", lambda self: "another")
    with pytest.raises(PWMError, match="data"):
        fleet(model, store, [("wide", 0)]).load(tmp_path / "checkpoint")


def test_how_often_to_save_is_free_to_change(model, store, tmp_path):
    learner = fleet(model, store, [("wide", 0)])
    learner.save(tmp_path / "checkpoint")
    fleet(model, store, [("wide", 0)], replace(CONFIG, checkpoint_every=1, log_every=1)).load(tmp_path / "checkpoint")
