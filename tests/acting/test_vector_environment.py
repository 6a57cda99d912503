"""Simulators in worker processes as one vector environment: it equals single environments, step by step."""

import numpy as np
import pytest
import torch

from pwm.acting.vector_environment import WorkerEnvironment
from pwm.acting.vector_episodes import play_episodes
from pwm.runtime.errors import PWMError
from pwm.tasks.vector import DifferentiableEnvironment, VectorEnvironment
from tests.acting.odd_tasks import raise_at_three
from tests.toys import travelling_task

SPEC = travelling_task("falling", 5, wall=1.5)


def actions_of(step):
    """Some actions [4, 2], a few of them beyond the bounds."""
    return torch.from_numpy(np.random.default_rng(step).normal(size=(4, 2)).astype(np.float32))


def played(steps=40, seed=0, rows=4, **options):
    """All fields of some steps, after the first observations."""
    environment = WorkerEnvironment(SPEC, rows, seed, **options)
    out = [environment.reset()]
    for step in range(steps):
        out.extend(environment.step(actions_of(step)[:rows]))
    environment.close()
    return out


def test_it_equals_single_environments_with_episodes_that_follow_each_other():
    seeds, seen = [3, 4, 5, 6], set()
    environment = WorkerEnvironment(SPEC, 4, seeds)
    singles = [SPEC.make() for _ in seeds]
    rows = [env.reset(seed=seed)[0] for env, seed in zip(singles, seeds)]
    assert np.array_equal(environment.reset(), np.stack(rows))
    for step in range(60):
        out = environment.step(actions_of(step))
        for i, env in enumerate(singles):
            final, reward, terminated, truncated, _ = env.step(np.clip(actions_of(step)[i].numpy(), -1, 1))
            assert np.array_equal(out.final_obs[i], final) and out.reward[i] == np.float32(reward)
            assert (bool(out.terminated[i]), bool(out.truncated[i])) == (terminated, truncated and not terminated)
            if terminated or truncated:
                seen.add((terminated, truncated))
                assert not torch.equal(out.obs[i], out.final_obs[i])
                first = env.reset(seed=int(environment._table.seeds[0, i]))[0]
                assert np.array_equal(out.obs[i], first)
            else:
                assert torch.equal(out.obs[i], out.final_obs[i])
    assert {(True, False), (False, True)} <= seen
    assert out.reward.dtype == out.obs.dtype == torch.float32 and out.terminated.dtype == torch.bool


def test_the_same_bits_for_any_number_of_processes():
    alone = played(workers=0)
    for workers in (1, 2):
        assert all(torch.equal(a, b) for a, b in zip(alone, played(workers=workers), strict=True))
    assert not torch.equal(alone[0], played(0, seed=1)[0])


def test_an_episode_is_a_function_of_seed_row_and_number():
    def starts(environment, lengths):
        """First observations of the first four episodes; `lengths` says after how many steps each is cut short."""
        first = [environment.reset()]
        for length in lengths:
            for _ in range(length):
                environment.step(torch.zeros(environment.num_envs, 2))
            first.append(environment.reset())
        return first

    long = travelling_task("long", 50)
    usual = starts(WorkerEnvironment(long, 3, 7), (2, 2, 2))
    assert all(torch.equal(a, b) for a, b in zip(usual, starts(WorkerEnvironment(long, 3, 7), (1, 5, 3))))
    assert all(torch.equal(a[:2], b) for a, b in zip(usual, starts(WorkerEnvironment(long, 2, 7), (2, 2, 2))))
    assert len(torch.cat(usual).unique(dim=0)) == 12
    environment = WorkerEnvironment(long, 3, 0)
    starts(environment, (1,))
    assert torch.equal(environment.reset(7), usual[0]) and torch.equal(environment.reset(), usual[1])


def test_without_reseeding_the_random_stream_of_an_environment_goes_on():
    environment = WorkerEnvironment(SPEC, 1, [5], reseed=False)
    single = SPEC.make()
    assert np.array_equal(environment.reset()[0], single.reset(seed=5)[0])
    ends = 0
    for _ in range(20):
        out = environment.step(torch.full((1, 2), 0.5))
        _, _, terminated, truncated, _ = single.step(np.full(2, 0.5, np.float32))
        if terminated or truncated:
            ends += 1
            assert np.array_equal(out.obs[0], single.reset()[0])
    assert ends > 2


def test_whole_episodes_in_it():
    environment = WorkerEnvironment(SPEC, 6, [1, 2, 3, 4, 5, 6])
    returns, lengths = play_episodes(lambda observations: observations[:, :2], environment)
    for row, seed in enumerate(range(1, 7)):
        env = SPEC.make()
        observation, total, steps, over = env.reset(seed=seed)[0], 0.0, 0, False
        while not over:
            observation, reward, *ends, _ = env.step(np.clip(observation[:2], -1, 1))
            total, steps, over = total + np.float32(reward), steps + 1, any(ends)
        assert lengths[row] == steps and returns[row].item() == pytest.approx(total, abs=1e-6)
    assert 0 < (lengths < 5).sum() < 6


def test_it_is_a_vector_environment_without_a_state():
    environment = WorkerEnvironment(SPEC, 2)
    assert isinstance(environment, VectorEnvironment) and not isinstance(environment, DifferentiableEnvironment)


def test_wrong_use_is_named():
    for options, message in (
        ({"num_envs": 0}, "num_envs is 0"),
        ({"num_envs": 2, "seed": [1]}, "falling: seeds must be 2 whole numbers"),
        ({"num_envs": 2, "seed": [1, -1]}, "falling: seeds must be 2 whole numbers"),
        ({"num_envs": 2, "workers": -1}, "workers is -1"),
    ):
        with pytest.raises(PWMError, match=message):
            WorkerEnvironment(SPEC, **options)
    environment = WorkerEnvironment(SPEC, 2)
    with pytest.raises(PWMError, match=r"falling: step\(\) outside an episode"):
        environment.step(torch.zeros(2, 2))
    environment.reset()
    with pytest.raises(PWMError, match="actions of shape"):
        environment.step(torch.zeros(3, 2))
    with pytest.raises(PWMError, match="falling: the policy gave a non-finite action at step 0"):
        environment.step(torch.full((2, 2), torch.nan))
    broken = WorkerEnvironment(travelling_task("broken", trouble=raise_at_three), 1, [9])
    broken.reset()
    with pytest.raises(PWMError, match="broken: its environment failed at step 3 in the episode with seed 9"):
        for _ in range(4):
            broken.step(torch.zeros(1, 2))
