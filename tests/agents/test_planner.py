"""The planner on a linear model with quadratic rewards, whose best actions are known; masks, seeds, and shapes."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from pwm.agents.plan_config import PlanConfig
from pwm.agents.planner import draw, plan
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime.errors import PWMError
from pwm.world_model.bound import BoundModel

GAMMA = 0.9
A = torch.tensor([[1.0, 0.2], [-0.1, 0.9]])
B = torch.tensor([[0.0, 0.3], [0.5, 0.0]])
Q, R = torch.eye(2), 0.1 * torch.eye(2)
DEFAULT = PlanConfig()
KEYS = torch.tensor([5, 6])


class Linear(BoundModel):
    """z' = A z + B a with reward -(z'Qz + a'Ra), in the shape of a world model; the mask may hold back one action."""

    contexts: ClassVar = {}

    def __init__(self, *mask):
        self.action_mask = torch.tensor(mask).view(len(mask), 1, -1)

    def share(self):
        return None

    def step(self, latent, action, shared=None):
        return latent @ A.T + (action * self.action_mask) @ B.T

    def reward(self, latent, action, space="true"):
        action = action * self.action_mask
        return -(latent @ Q * latent).sum(-1) - (action @ R * action).sum(-1)


def riccati(b, steps=500):
    """Cost-to-go matrix P and gain K of the discounted problem with controls through b; a = -K z is best."""
    p = Q.clone()
    for _ in range(steps):
        k = torch.linalg.solve(R[: b.shape[1], : b.shape[1]] / GAMMA + b.T @ p @ b, b.T @ p @ A)
        p = Q + k.T @ R[: b.shape[1], : b.shape[1]] @ k + GAMMA * (A - b @ k).T @ p @ (A - b @ k)
    return p, k


def clumsy(latent, noise):
    """A policy that knows nothing."""
    return torch.tanh(noise)


def planned(latent, mask, cost, previous=None, counter=0, config=DEFAULT):
    noise = draw(KEYS[: len(mask)], counter, latent.shape[1], 2, config)
    return plan(Linear(*mask), clumsy, lambda z: -(z @ cost * z).sum(-1), latent, previous, noise, config, GAMMA)


LATENT = 0.75 * torch.tensor([[[0.4, -0.3], [-0.2, 0.5], [0.1, 0.1]], [[0.6, 0.2], [0.0, -0.4], [-0.5, -0.1]]])


def test_it_approaches_the_best_linear_controller():
    cost, gain = riccati(B)
    best = -LATENT @ gain.T
    assert best.abs().max() < 1.0  # the bound on actions plays no part
    action, mean = planned(LATENT, [[1.0, 1.0]] * 2, cost)
    assert action.shape == (2, 3, 2) and mean.shape == (3, 2, 3, 2) and torch.equal(action, mean[0])
    torch.testing.assert_close(action, best, atol=0.05, rtol=0)
    longer, _ = planned(LATENT, [[1.0, 1.0]] * 2, cost, config=PlanConfig(temperature=20.0, iterations=12))
    torch.testing.assert_close(longer, best, atol=0.015, rtol=0)


def test_later_plans_begin_where_the_last_one_stood():
    cost, gain = riccati(B)
    best, config = -LATENT @ gain.T, PlanConfig(temperature=50.0, iterations=1, max_std=0.1)
    z, errors, previous = LATENT, [], None
    for counter in range(6):
        action, previous = planned(LATENT, [[1.0, 1.0]] * 2, cost, previous, counter, config)
        errors.append(float((action - best).abs().max()))
        previous = torch.cat((previous[:1], previous[:-1]))  # the world stands still: so does the plan
    assert errors[-1] < 0.1 < errors[0]
    assert z is LATENT


def test_it_beats_its_actor_and_uses_it():
    """Real returns in the model: the plan's above the clumsy actor's, and close to the optimum."""
    cost, gain = riccati(B)

    def play(act):
        z, total = LATENT, torch.zeros(2, 3)
        for t in range(30):
            a = act(z, t)
            total += GAMMA**t * Linear([1.0, 1.0], [1.0, 1.0]).reward(z, a)
            z = z @ A.T + a @ B.T
        return total

    best = play(lambda z, t: (-z @ gain.T).clamp(-1, 1))
    torch.testing.assert_close(best, -(LATENT @ cost * LATENT).sum(-1), atol=2e-3, rtol=0)  # what Riccati promises
    ours = play(lambda z, t: planned(z, [[1.0, 1.0]] * 2, cost, counter=t)[0])
    theirs = play(lambda z, t: clumsy(z, draw(KEYS, t, 3, 2, PlanConfig()).policy[0][:, :, 0]))
    assert (ours <= best + 1e-4).all() and (ours > best - 0.05).all() and (theirs < best - 0.3).all()
    only = PlanConfig(samples=24, policy_samples=24, elites=1, iterations=1)
    noise = draw(KEYS, 0, 3, 2, only)
    action, _ = planned(LATENT, [[1.0, 1.0]] * 2, cost, config=only)
    assert (torch.tanh(noise.policy[0]) == action.unsqueeze(2)).all(-1).any(-1).all()  # one of the actor's own


def test_masked_actions_stay_zero_and_the_rest_is_best_without_them():
    cost, gain = riccati(B[:, :1])
    action, mean = planned(LATENT, [[1.0, 0.0]] * 2, cost)
    assert not mean[..., 1].any() and mean[..., 0].any()
    torch.testing.assert_close(action[..., :1], (-LATENT @ gain.T).clamp(-1, 1), atol=0.05, rtol=0)


def test_actions_stay_in_bounds():
    cost, _ = riccati(B)
    action, _ = planned(20.0 * LATENT, [[1.0, 1.0]] * 2, cost)
    assert action.abs().max() <= 1.0 and action.abs().max() > 0.8


def test_plans_are_functions_of_keys_and_counter_and_rows_do_not_mix():
    cost, _ = riccati(B)
    first, again = (planned(LATENT, [[1.0, 1.0]] * 2, cost)[0] for _ in "ab")
    assert torch.equal(first, again)
    assert not torch.equal(first, planned(LATENT, [[1.0, 1.0]] * 2, cost, counter=1)[0])
    alone = planned(LATENT[:1], [[1.0, 1.0]], cost)[0]
    torch.testing.assert_close(first[:1], alone)
    moved = LATENT.clone()
    moved[0, 1] += 0.3
    changed = planned(moved, [[1.0, 1.0]] * 2, cost)[0] != first
    assert changed[0, 1].any() and not changed[0, [0, 2]].any() and not changed[1].any()


def test_in_a_real_world_model(model, store):
    learner = FleetLearner(model, store, ["wide", "narrow"], [0, 0], replace(PolicyConfig(), batch_size=4))
    latent = learner.bound.encode(learner.batch().observations)
    config = PlanConfig(samples=32, policy_samples=4, elites=8, iterations=2)
    noise = draw(KEYS, 0, 4, model.action_dim, config)
    args = (learner.bound, learner.actor, learner.critic.value, latent)
    action, mean = plan(*args, None, noise, config, 0.99)
    assert action.shape == (2, 4, 3) and not action[1, :, 1:].any() and torch.isfinite(mean).all()
    assert action[0].abs().max() <= 1.0 and not torch.equal(plan(*args, mean, noise, config, 0.99)[0], action)


def test_settings_that_make_no_sense_are_named():
    wrong = {"elites": 600, "min_std": 3.0, "policy_samples": 513, "horizon": 0}
    for name, value in wrong.items():
        with pytest.raises(PWMError, match=name):
            PlanConfig(**{name: value})
