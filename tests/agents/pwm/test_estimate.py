"""What policy learning is said to cost, against what it does."""

from dataclasses import replace

import pytest
import torch

from pwm.agents.pwm import estimate as cost
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.estimate import estimate_learn, learn_bytes, members_that_fit
from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime.memory import peak_bytes

CONFIG = PolicyConfig(
    updates=20,
    batch_size=16,
    horizon=4,
    actor_units=(16,),
    critic_units=(16,),
    critic_passes=2,
    critic_warmup=5,
    behaviour_updates=7,
    behaviour_weight=1.0,
    behaviour_batch=8,
)
MEMBERS = [("wide", 0), ("narrow", 0), ("wide", 1), ("narrow", 1), ("wide", 2)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("count", [1, 5])
def test_the_rehearsal_finds_what_a_real_update_needs(model, store, count, precision):
    config = replace(CONFIG, behaviour_updates=0, critic_warmup=0, precision=precision)
    learner = FleetLearner(model, store, *zip(*MEMBERS[:count], strict=True), config)
    learner.update()
    modules = (learner.actor, learner.critic)
    for parameter in (p for module in modules for p in module.parameters()):
        parameter.grad = None
    held = 4 * sum(p.numel() for m in (model, *modules, *modules, *modules, *modules) for p in m.parameters())
    frozen = [net.share().factors for net in (model.encoder, model.dynamics, model.reward)]
    made_once = [x for factors in frozen for factor in factors for x in (factor.matrix, *factor._ready.values())]
    held += sum(x.nbytes for x in made_once if x.dtype != torch.float32)
    real = held + peak_bytes(learner.update, "cpu")
    assert learn_bytes(model, store, MEMBERS[:count], config) == pytest.approx(real, rel=0.05)
    assert model.embedding.device.type == "cpu"


def test_as_many_fit_as_are_said_to(model, store):
    limit = 30e6
    most = members_that_fit(model, store, CONFIG, limit, share=1.0)
    assert most > 5
    members = [("wide", seed) for seed in range(most + 1)]
    assert learn_bytes(model, store, members[:-1], CONFIG) <= limit < learn_bytes(model, store, members, CONFIG)
    assert members_that_fit(model, store, CONFIG, limit) < most
    assert members_that_fit(model, store, CONFIG, 1000.0) == 0


def test_an_estimate_adds_up_the_phases_and_leaves_the_model_alone(model, store, monkeypatch):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    firsts = []

    def timed(make, size, device, start):
        assert size == 5
        update = make(2)
        firsts.append(update.__self__.updates)
        update()  # a real one
        return [(1, 1.0), (2, float(len(firsts)) + 1.0)]

    monkeypatch.setattr(cost, "timed", timed)
    found = estimate_learn(model, store, MEMBERS, CONFIG, "cpu")
    assert firsts == [0, 7, 12]
    # seconds of five members: 2 + 3 * 1, 3 + 3 * 2, 4 + 3 * 3
    assert found.seconds == 7 * 5.0 + 5 * 9.0 + 15 * 13.0
    assert "imitation, 1 policies: 1 s, 2 policies: 2 s" in found.measured and "critics, " in found.measured
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) and value.device.type == "cpu"
