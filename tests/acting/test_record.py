"""Whole episodes as arrays: they replay, for several tasks at once, and are what `collect` writes."""

import numpy as np
import pytest

from pwm.acting.collect import collect
from pwm.acting.environments import Table
from pwm.acting.parts import Part
from pwm.acting.random_policy import with_noise
from pwm.acting.record import record_episodes
from pwm.acting.rollout import run_episodes
from pwm.acting.seeds import episode_seeds
from pwm.acting.side_by_side import SideBySide
from pwm.acting.vector_environment import WorkerEnvironment
from pwm.acting.workers import Workers
from pwm.data.store import open_store
from pwm.runtime.errors import PWMError
from tests.toys import travelling_task

SPECS = [travelling_task("even", 7), travelling_task("falling", 9, wall=2.5)]
SEEDS = np.array([[3, 4, 5], [6, 7, 8]])


def act(observations):
    return np.tanh(observations[..., :2] + 0.2)


def same(a, b):
    pairs = [(x, y) for own, other in zip(a, b, strict=True) for x, y in zip(own, other, strict=True)]
    return all(np.array_equal(p, q) and p.dtype == q.dtype for x, y in pairs for p, q in zip(x, y, strict=True))


def test_episodes_replay():
    noisy = with_noise(act, 0.3, SPECS, SEEDS)
    recorded = record_episodes(SPECS, noisy, SEEDS)
    lengths = set()
    for spec, row, episodes in zip(SPECS, SEEDS, recorded, strict=True):
        for seed, (observations, actions, rewards, terminations) in zip(row, episodes, strict=True):
            env = spec.make()
            assert np.array_equal(env.reset(seed=int(seed))[0], observations[0])
            assert len(observations) == len(actions) + 1 == len(rewards) + 1 == len(terminations) + 1
            for t, action in enumerate(actions):
                assert not np.array_equal(action, act(observations[t]))
                observation, reward, terminated, truncated, _ = env.step(action)
                assert np.array_equal(observation, observations[t + 1]) and rewards[t] == np.float32(reward)
                assert terminations[t] == terminated
                assert (terminated or truncated) == (t == len(actions) - 1)
            lengths.add(len(actions))
    assert len(lengths) > 2


def test_any_number_of_processes_and_any_company():
    alone = record_episodes(SPECS, with_noise(act, 0.3, SPECS, SEEDS), SEEDS)
    for count in (1, 2):
        with Workers(count, Table.size(6, 3, 2)) as pool:
            assert same(alone, record_episodes(SPECS, with_noise(act, 0.3, SPECS, SEEDS), SEEDS, pool))
    one = record_episodes(SPECS[1:], with_noise(act, 0.3, SPECS[1:], SEEDS[1:, 2:]), SEEDS[1:, 2:])
    assert same(one, [alone[1][2:]])


def test_collect_writes_what_is_recorded(tmp_path):
    collect(tmp_path / "s", [Part(SPECS[1], lambda seeds: act, "scripted", 40, 0.3)], 5)
    data, seeds = open_store(tmp_path / "s")["falling"], [episode_seeds(5, "falling", 40)]
    recorded = record_episodes(SPECS[1:], with_noise(act, 0.3, SPECS[1:], seeds), seeds)[0]
    for name in ("observations", "actions", "rewards", "terminations"):
        stored, own = getattr(data, name), np.concatenate([getattr(episode, name) for episode in recorded])
        assert np.array_equal(stored, own) and stored.dtype == own.dtype


def test_vector_environments_play_the_same_episodes():
    pool = SideBySide(lambda spec, count: WorkerEnvironment(spec, count))
    for noise in (0.0, 0.3):  # the second group meets the environments of the first again
        alone = record_episodes(SPECS, with_noise(act, noise, SPECS, SEEDS), SEEDS)
        assert same(alone, record_episodes(SPECS, with_noise(act, noise, SPECS, SEEDS), SEEDS, pool))
    one, other = (run_episodes(SPECS, act, SEEDS, workers=workers) for workers in (None, pool))
    assert np.array_equal(one.lengths, other.lengths) and len(np.unique(one.lengths)) > 1
    np.testing.assert_allclose(one.returns, other.returns, atol=1e-5)


def test_locomotion_side_by_side():
    pytest.importorskip("newton")
    from pwm.tasks.registry import get_task

    spec = get_task("double-pendulum")

    def push(observations):
        return np.clip(observations[..., :1], -1, 1)

    seeds = [[11, 12, 13]]
    together = record_episodes([spec], push, seeds, SideBySide())[0]
    single = record_episodes([spec], push, [[12]])[0][0]
    assert [len(episode.rewards) for episode in together] == [240] * 3
    assert np.array_equal(together[1].observations[0], single.observations[0])
    np.testing.assert_allclose(together[1].observations[:40], single.observations[:40], atol=1e-3)
    assert not np.allclose(together[0].observations[0], together[1].observations[0])


def test_tasks_without_a_vector_simulator_are_named():
    with pytest.raises(PWMError, match="no gradients flow through the simulator of the task cartpole-swingup"):
        from pwm.tasks.registry import get_task

        record_episodes([get_task("cartpole-swingup")], act, [[1]], SideBySide())
