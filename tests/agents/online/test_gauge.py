"""The gauge of exploitation against numbers computed step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pwm.agents.online.gauge import STATES, _to_go, gauge
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learner import FleetLearner
from pwm.data.store import Episode
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel
from tests.stores import drifting_points


def test_discounted_rewards_to_go_by_hand():
    rewards = torch.tensor([1.0, 0.0, 2.0])
    torch.testing.assert_close(_to_go(rewards, 0.5, "true"), torch.tensor([1.5, 1.0, 2.0]))
    log = np.log([2.0, 1.0, 3.0])
    expected = torch.tensor([log[0] + 0.25 * log[2], 0.5 * log[2], log[2]], dtype=torch.float32)
    torch.testing.assert_close(_to_go(rewards, 0.5, "symlog"), expected)


@pytest.fixture
def learner(tmp_path):
    store = drifting_points(tmp_path / "store")
    model = WorldModel(world_model_size("tiny"), store.tasks, [2, 2], [1, 2], seed=1).freeze()
    config = PolicyConfig(horizon=3, gamma=0.9, actor_units=(8,), critic_units=(8,), reward_space="true")
    return FleetLearner(model, store, ["one", "two"], [0, 0], config)


def episode(actions, steps=12, seed=0):
    random = np.random.default_rng(seed)
    seen = random.normal(size=(steps + 1, 2)).astype(np.float32)
    acted = random.uniform(-1, 1, (steps, actions)).astype(np.float32)
    return Episode(seen, acted, np.ones(steps, np.float32), np.zeros(steps, bool))


def test_errors_and_returns_are_those_of_a_plain_loop(learner):
    played = [[episode(1)], [episode(2, seed=1)]]
    values = gauge(learner, played, counter=0)
    # rewards of 1: the sum of 0.9^t over what is left, from evenly spread states of the first half
    starts = np.linspace(0, 6, STATES).round().astype(int)
    expected = np.mean([(1 - 0.9 ** (12 - t)) / 0.1 for t in starts])
    assert values["real_discounted"].tolist() == pytest.approx([expected] * 2, rel=1e-5)
    for k, (task, own) in enumerate(zip(("one", "two"), played)):
        bound, e = learner.model.bind([task]), own[0]
        seen, acted = torch.from_numpy(e.observations), torch.zeros(12, 2)
        acted[:, : e.actions.shape[1]] = torch.from_numpy(e.actions)
        with torch.no_grad():
            truth = bound.encode(seen[None])[0]
            errors = {1: [], 3: []}
            for t in starts:
                latent = truth[None, None, t]
                for h in (1, 2, 3):
                    latent = bound.step(latent, acted[None, None, t + h - 1])
                    if h in errors:
                        errors[h].append((latent[0, 0] - truth[t + h]).square().mean())
        windows = torch.stack([truth[t : t + 4] for t in starts]).flatten(0, 1)
        variance = windows.var(dim=0, unbiased=False).mean()
        assert float(values["latent_error_1"][k]) == pytest.approx(
            float(torch.stack(errors[1]).mean() / variance), rel=1e-4
        )
        assert float(values["latent_error_h"][k]) == pytest.approx(
            float(torch.stack(errors[3]).mean() / variance), rel=1e-4
        )


def test_inflated_critics_show_as_exploitation(learner):
    played = [[episode(1)], [episode(2)]]
    before = gauge(learner, played, counter=0)
    with torch.no_grad():
        list(learner.critic.net.biases)[-1].add_(10.0)
    after = gauge(learner, played, counter=0)
    gain = after["imagined_discounted"] - before["imagined_discounted"]
    assert gain.tolist() == pytest.approx([10 * 0.9**3] * 2, rel=1e-4)
    assert after["real_discounted"].equal(before["real_discounted"])
