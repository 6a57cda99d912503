"""The presets say what the paper and the published code say, number by number."""

from dataclasses import asdict

import pytest

from pwm.agents.pwm.config import PRESETS, PolicyConfig, policy_preset
from pwm.runtime.errors import PWMError

# Table 1, Appendix C and Section 5.2 of the paper.
PAPER = {
    "updates": 10_000,
    "batch_size": 64,
    "horizon": 16,
    "gamma": 0.99,
    "td_lambda": 0.95,
    "bootstrap_exponent": 0,
    "actor_units": (400, 200, 100),
    "critic_units": (400, 200),
    "critics": 3,
    "initial_log_std": -1.0,
    "min_std": 0.24,
    "detach_actor_input": True,
    "reward_space": "symlog",
    "actor_learning_rate": 5e-4,
    "critic_learning_rate": 5e-4,
    "final_learning_rate": 1e-5,
    "betas": (0.7, 0.95),
    "actor_grad_norm": 1.0,
    "critic_grad_norm": 100.0,
    "critic_passes": 8,
    "critic_splits": 4,
    "mask_actions": True,
}
# What this library adds; the paper has none of it.
OFF = {
    "early_starts": 0.0,
    "behaviour_weight": 0.0,
    "behaviour_updates": 0,
    "critic_warmup": 0,
    "actor_average": 0.0,
    "critic_average": 0.0,
}


def test_as_paper_is_the_paper_and_the_default():
    values = asdict(policy_preset("as_paper"))
    assert {name: values[name] for name in PAPER} == PAPER
    assert {name: values[name] for name in OFF} == OFF
    assert PRESETS["as_paper"] == PolicyConfig()


def test_as_published_differs_in_these_points_alone():
    paper, published = asdict(PRESETS["as_paper"]), asdict(PRESETS["as_published"])
    different = {name: published[name] for name in paper if published[name] != paper[name]}
    assert different == {"td_lambda": 0.0, "bootstrap_exponent": 1, "mask_actions": False, "batch_size": 512}


def test_overrides_and_unknown_presets():
    assert policy_preset("as_published", batch_size=8).batch_size == 8
    assert policy_preset("as_published", batch_size=8).td_lambda == 0.0
    with pytest.raises(PWMError, match="choose one of as_paper, as_published"):
        policy_preset("as_code")


@pytest.mark.parametrize(
    ("field", "value"), [("critics", 0), ("gamma", 5.0), ("horizon", -1), ("behaviour_updates", 3), ("min_std", 0.0)]
)
def test_settings_out_of_range_are_named(field, value):
    with pytest.raises(PWMError, match="behaviour_weight" if field == "behaviour_updates" else field):
        PolicyConfig(**{field: value})
