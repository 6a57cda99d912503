"""The loop of learning: what it does when numbers stop being numbers."""

import math
from dataclasses import replace

import pytest
import torch

from pwm.acting.policy_file import policy_path
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learn import fleet_checkpoint, learn
from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import read_metrics

CONFIG = PolicyConfig(
    updates=9, batch_size=4, horizon=2, actor_units=(8,), critic_units=(8,), critic_passes=1, checkpoint_every=2
)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("log_every", [1, 25])  # also where it is time to save and not to log
def test_numbers_that_are_not_finite_stop_learning_and_keep_the_last_sound_checkpoint(
    model, store, tmp_path, monkeypatch, value, log_every
):
    update = FleetLearner.update

    def broken(self):
        values = update(self)
        if self.updates == 6:
            values["critic_loss"] = torch.tensor([0.5, value])
        return values

    monkeypatch.setattr(FleetLearner, "update", broken)
    members = [("wide", 0), ("narrow", 0)]
    with pytest.raises(PWMError, match=r"policy narrow, seed 0: critic_loss is .* at update 6; .*lower") as caught:
        learn(model, store, tmp_path, ["wide", "narrow"], replace(CONFIG, log_every=log_every))
    checkpoint = fleet_checkpoint(tmp_path, members)
    assert str(checkpoint) in str(caught.value)
    kept = FleetLearner(model, store, *zip(*members, strict=True), replace(CONFIG, log_every=log_every))
    kept.load(checkpoint)
    assert kept.updates == 4
    assert not policy_path(tmp_path, "wide", 0).exists()
    assert all(line["step"] < 6 for line in read_metrics(tmp_path))


def test_a_diverging_fleet_is_stopped_by_itself(model, store, tmp_path):
    """Nothing planted: step sizes that no training survives."""
    wild = replace(CONFIG, updates=40, critic_learning_rate=1e9, log_every=1, actor_learning_rate=1e9)
    with pytest.raises(PWMError, match="lower actor_learning_rate"):
        learn(model, store, tmp_path, ["wide"], wild)
