"""SHAC's objective and targets: by hand, against plain loops over episodes, and its gradient by finite differences."""

import pytest
import torch

from pwm.agents.shac.config import ShacConfig
from pwm.agents.shac.learner import ShacLearner
from pwm.agents.shac.rollout import roll_out, shac_objective, value_targets
from tests.agents.point_mass import PointMass

NO = torch.zeros(3, 1, dtype=torch.bool)
REWARDS, VALUES = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[10.0], [20.0], [40.0]])


def at(step: int) -> torch.Tensor:
    flags = NO.clone()
    flags[step] = True
    return flags


def objective(terminated=NO, truncated=NO) -> float:
    return round(shac_objective(REWARDS, VALUES, terminated, truncated, 0.5).item() * 3, 5)


def targets(terminated=NO, truncated=NO) -> list[float]:
    return value_targets(REWARDS, VALUES, terminated, truncated, 0.5, 0.25).flatten().tolist()


def test_without_an_end_it_is_the_discounted_return_with_bootstrap():
    assert objective() == 1 + 0.5 * 2 + 0.25 * 4 + 0.125 * 40
    assert targets() == [6.3125, 12.5, 24.0]


def test_termination_has_no_bootstrap_and_the_discount_starts_anew():
    # (1 + .5*2) and then (4 + .5*40)
    assert objective(terminated=at(1)) == 26.0
    assert targets(terminated=at(1)) == [5.0, 2.0, 24.0]
    assert objective(terminated=at(2)) == 1 + 0.5 * 2 + 0.25 * 4
    assert targets(terminated=at(2))[2] == 4.0


def test_truncation_bootstraps_with_the_state_before_the_reset():
    # (1 + .5*2 + .25*20) and then (4 + .5*40)
    assert objective(truncated=at(1)) == 31.0
    assert targets(truncated=at(1)) == [6.25, 12.0, 24.0]
    assert objective(truncated=at(2)) == objective()
    assert targets(truncated=at(2)) == targets()


def pieces(terminated: list[bool], truncated: list[bool]) -> list[tuple[int, int, bool]]:
    """(first step, step after the last, whether a value follows) of every piece of episode."""
    found, start = [], 0
    for h in range(len(terminated)):
        if terminated[h] or truncated[h] or h == len(terminated) - 1:
            found.append((start, h + 1, not terminated[h]))
            start = h + 1
    return found


def test_random_ends_against_a_loop_over_pieces_of_episodes():
    generator = torch.Generator().manual_seed(0)
    horizon, n, gamma, lam = 12, 40, 0.9, 0.7
    rewards, values = torch.randn(2, horizon, n, generator=generator, dtype=torch.float64)
    terminated = torch.rand(horizon, n, generator=generator) < 0.15
    truncated = (torch.rand(horizon, n, generator=generator) < 0.15) & ~terminated
    assert terminated.any() and truncated.any() and terminated[-1].any() and truncated[-1].any()
    found = value_targets(rewards, values, terminated, truncated, gamma, lam)
    total = 0.0
    for k in range(n):
        for begin, end, follows in pieces(terminated[:, k].tolist(), truncated[:, k].tolist()):
            r, v = rewards[begin:end, k], values[begin:end, k].clone()
            v[-1] = v[-1] if follows else 0.0
            length = end - begin
            total += sum(gamma**i * r[i] for i in range(length)) + gamma**length * v[-1]
            for t in range(length):  # the weighted sum of n-step returns
                steps = [
                    sum(gamma**i * r[t + i] for i in range(m)) + gamma**m * v[t + m - 1]
                    for m in range(1, length - t + 1)
                ]
                expected = (1 - lam) * sum(lam**i * g for i, g in enumerate(steps[:-1])) + lam ** (
                    len(steps) - 1
                ) * steps[-1]
                torch.testing.assert_close(found[begin + t, k], expected)
    torch.testing.assert_close(shac_objective(rewards, values, terminated, truncated, gamma), total / (horizon * n))


def double_learner() -> ShacLearner:
    """In float64, on episodes so short and wide that they end both ways within a rollout."""
    environment = PointMass(16, seed=3, episode_length=7, dtype=torch.float64)
    config = ShacConfig(num_envs=16, horizon=10, actor_units=(8,), critic_units=(8,), actor_output_gain=1.0)
    learner = ShacLearner(environment, "point", 0, config)
    learner.actor.double()
    learner.critic.double()
    learner.target_critic.double()
    environment.state[:8, 0] = 1.9
    environment.state[:8, 1] = 1.0
    environment.time[8:] = 3
    learner.normaliser.update(torch.randn(100, 2, generator=torch.Generator().manual_seed(1)) * 2 + 1)
    return learner


def test_the_gradient_equals_finite_differences():
    learner = double_learner()
    noise, start = learner.noise().double(), learner.environment.get_state()

    def value() -> torch.Tensor:
        learner.environment.set_state(start)
        return learner.objective(noise)[0]

    learner.environment.set_state(start)
    total, rollout, _ = learner.objective(noise)
    assert rollout.terminated.any() and rollout.truncated.any()
    parameters = list(learner.actor.parameters())
    grads = torch.autograd.grad(total, parameters)
    generator, step = torch.Generator().manual_seed(2), 1e-6
    for _ in range(5):
        directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
        expected = sum((g * d).sum() for g, d in zip(grads, directions)).item()
        sides = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                torch._foreach_add_(parameters, directions, alpha=sign * step)
                sides.append(value().item())
                torch._foreach_add_(parameters, directions, alpha=-sign * step)
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(expected, rel=1e-6)


def test_the_graph_ends_where_the_rollout_began_and_a_reset_lets_nothing_through():
    environment = PointMass(4, seed=0, episode_length=2)
    environment.reset()
    first = torch.full((4, 1), 0.1, requires_grad=True)
    actions = iter((first, *(torch.zeros(4, 1) for _ in range(3))))
    rollout = roll_out(environment, lambda observation, eps: next(actions), torch.zeros(4, 4, 1))
    assert rollout.truncated[1].all()
    assert torch.autograd.grad(rollout.rewards[1].sum(), first, retain_graph=True)[0].abs().min() > 0
    assert torch.autograd.grad(rollout.final_observations[1].sum(), first, retain_graph=True)[0].abs().min() > 0
    assert (
        torch.autograd.grad(rollout.rewards[2:].sum(), first, allow_unused=True, retain_graph=True)[0].abs().max() == 0
    )
    assert not environment.detach().requires_grad
