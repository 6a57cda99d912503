"""Policies of any kind behind one loader, and actions that do not depend on what runs beside them."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pwm.acting import policy_file
from pwm.acting.policy_file import ROWS, act_together, load_policy
from pwm.agents.pwm.deployed import Policy
from pwm.runtime.checkpoint import write_described
from pwm.runtime.errors import PWMError
from tests.policies import untrained_policy


class Shapely:
    """A policy whose actions tell the shape it was called with and the row an observation stood in."""

    task, seed, observation_dim, action_dim, about = "t", 0, 1, 3, {}

    def act(self, observation):
        rows = np.arange(len(observation))
        return np.stack([np.full(len(rows), len(rows)), rows, observation[:, 0]], axis=1).astype(np.float32)


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 16), (3, 5), (15, 2), (16, 24), (33, 7), (5, 35)])
def test_an_episode_always_has_its_row_in_a_batch_of_one_shape(first, count):
    observations = np.arange(40, dtype=np.float32).reshape(1, 40, 1)
    part = act_together([Shapely()], first)(observations[:, first : first + count])
    assert part.shape == (1, count, 3)
    assert (part[0, :, 0] == ROWS).all() and (part[0, :, 1] == np.arange(first, first + count) % ROWS).all()
    assert (part[0, :, 2] == np.arange(first, first + count)).all()


def test_actions_have_the_same_bits_in_any_company():
    policies = [
        untrained_policy(f"t{k}", o, a, k, padded=(6, 4), weights=k, std=0.2)
        for k, (o, a) in enumerate(((5, 3), (2, 4), (5, 3)))
    ]
    observations = np.random.default_rng(0).normal(size=(3, 40, 5)).astype(np.float32)
    together = act_together(policies)(observations)
    assert (together[1, :, :4] != 0).all() and (together[0, :, 3:] == 0).all()
    for k, policy in enumerate(policies):
        np.testing.assert_allclose(
            together[k, :, : policy.action_dim], policy.act(observations[k, :, : policy.observation_dim]), atol=1e-6
        )
        for first, count in ((0, 1), (7, 2), (15, 3), (20, 20)):
            alone = act_together([policy], first)(observations[k : k + 1, first : first + count])
            expected = together[k, first : first + count, : policy.action_dim]
            assert alone[0].tobytes() == np.ascontiguousarray(expected).tobytes()


def test_a_kind_of_ones_own(tmp_path, monkeypatch):
    path = tmp_path / "policy"
    write_described(path, {"level": torch.full((1,), 0.5)}, {"kind": "constant", "task": "t", "seed": 4})
    with pytest.raises(PWMError, match="holds a constant, not a policy.*; pass the right file"):
        load_policy(path)

    class Constant(Shapely):
        def __init__(self, tensors, about, path, device):
            self.level, self.seed, self.about = tensors["level"].item(), about["seed"], about

    monkeypatch.setitem(sys.modules, "constants", SimpleNamespace(load=Constant))
    monkeypatch.setitem(policy_file.KINDS, "constant", "constants")
    loaded = load_policy(path)
    assert (loaded.level, loaded.seed, loaded.about["task"]) == (0.5, 4, "t")
    untrained_policy("t", 2, 1).save(path)
    assert isinstance(load_policy(path), Policy)
    write_described(path, {"other": torch.zeros(1)}, {"kind": "constant", "task": "t", "seed": 4})
    with pytest.raises(PWMError, match="its description is incomplete"):
        load_policy(path)
    write_described(path, {}, {"kind": "world_model"})
    with pytest.raises(PWMError, match="holds a world_model, not a policy.* or constant"):
        load_policy(path)
