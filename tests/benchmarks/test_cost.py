"""The formulas against a counter of the matrix products that really run."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import workload
from benchmarks.action_latency import deployed
from benchmarks.reference.convert import convert_world_model
from benchmarks.reference.policy_update import PolicyTrainer
from benchmarks.reference.world_model_update import WorldModelTrainer
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.estimate import action_flops, phase_flops, policy_update_flops
from pwm.world_model.config import PretrainConfig, world_model_size
from pwm.world_model.estimate import mlp_flops, world_model_update_flops
from pwm.world_model.pretrain import build_pretrainer
from tests.benchmarks.conftest import MODEL, POLICY, SIZES

# Products with one column may run as matrix-vector products, which the counter does not see.
RELATIVE = 0.02


def counted(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def test_mlp_by_hand():
    assert mlp_flops(5, (3, 4, 2)) == 2 * 5 * (3 * 4 + 4 * 2)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("members", [1, 3])
def test_policy_update(model, store, detach, members):
    config = replace(POLICY, detach_actor_input=detach)
    learner = workload.fleet(model.freeze(), store, config, members)
    formula = policy_update_flops(MODEL, config, members, model.observation_dim, model.action_dim)
    assert counted(learner.update) == pytest.approx(formula, rel=RELATIVE)


def test_updates_of_each_phase(model, store):
    config = replace(POLICY, behaviour_weight=1.0, behaviour_updates=2, critic_warmup=2, updates=9)
    learner = workload.fleet(model.freeze(), store, config, 1)
    formula = phase_flops(MODEL, config, model.observation_dim, model.action_dim)
    for phase, first in (("imitation", 0), ("imagination", 4)):
        learner.updates = first
        assert counted(learner.update) == pytest.approx(formula[phase], rel=RELATIVE)
    assert config.phases == {"imitation": 2, "critics": 2, "imagination": 7}


def test_policy_update_grows_with_every_part():
    def flops(**changes):
        return policy_update_flops(MODEL, replace(POLICY, **changes), 1, 7, 3)

    assert policy_update_flops(MODEL, POLICY, 8, 7, 3) == 8 * flops()
    passes = flops(critic_passes=4) - flops(critic_passes=3)
    assert passes == flops(critic_passes=5) - flops(critic_passes=4) > 0
    assert passes == flops(critic_splits=1, critic_passes=4) - flops(critic_splits=1)


def test_planning_numbers_at_48m():
    """About 45 GFLOP through the model and 57 in the critic steps, says the plan; recounted, neither is far off."""
    config = PolicyConfig()
    model = world_model_size("48")
    critic = policy_update_flops(model, config, 1, 24, 6) - policy_update_flops(
        model, replace(config, critic_passes=0), 1, 24, 6
    )
    total = policy_update_flops(model, config, 1, 24, 6)
    assert 40e9 < critic < 60e9
    assert 35e9 < total - critic < 60e9


@pytest.mark.parametrize("batch", [4, 10])
def test_world_model_update(store, batch):
    config = PretrainConfig(batch_size=batch, horizon=6, held_out=0.0)
    trainer = build_pretrainer(store, MODEL, config)
    o, a = trainer.model.observation_dim, trainer.model.action_dim
    formula = world_model_update_flops(MODEL, batch, config.horizon, len(SIZES), o, a)
    assert counted(trainer.update) == pytest.approx(formula, rel=RELATIVE)


def test_the_reference_wastes_work(model, store):
    """Weight gradients of a model that is not frozen: the reference needs clearly more than the algorithm does."""
    from benchmarks.policy_update import reference

    config = POLICY
    ours = policy_update_flops(MODEL, config, 1, model.observation_dim, model.action_dim)
    assert counted(reference(model, store, config, torch.device("cpu"))) > 1.15 * ours
    assert PolicyTrainer.__init__ is not WorldModelTrainer.__init__
    assert any(p.requires_grad for p in convert_world_model(model).parameters())


@pytest.mark.parametrize("count", [1, 64])
def test_action(count):
    (policy,), _ = deployed({"wide": SIZES["wide"]}, "tiny", POLICY, torch.device("cpu"))
    observations = torch.randn(count, 7).numpy()
    formula = action_flops(world_model_size("tiny"), POLICY, count, *SIZES["wide"])
    policy.act(observations)  # the first call prepares the weights
    assert counted(lambda: policy.act(observations)) == pytest.approx(formula, rel=RELATIVE)
