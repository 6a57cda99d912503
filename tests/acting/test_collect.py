"""Collected episodes: what the store holds is what the environment saw, and replays to the same numbers."""

import numpy as np
import pytest

import pwm.acting.collect as module
from pwm.acting.collect import collect
from pwm.acting.parts import Part
from pwm.acting.random_policy import with_noise
from pwm.acting.seeds import episode_seeds
from pwm.data.store import open_store
from pwm.runtime.errors import PWMError
from pwm.tasks.spec import TaskSpec
from tests.toys import toy_task

SPEC = toy_task("drift", 2, 2, 6, wall=1.0)


def towards(seeds):
    return lambda observations: np.clip(observations + 0.3, -1, 1)


def test_what_is_stored_replays(tmp_path):
    parts = [Part(SPEC, towards, "scripted", 5, 0.0, "expert"), Part(SPEC, towards, "scripted", 4, 0.5, "medium")]
    collect(tmp_path / "s", parts, 7)
    store = open_store(tmp_path / "s", verify=True)
    data, env = store["drift"], SPEC.make()
    assert store.quality("drift").tolist() == ["expert"] * 5 + ["medium"] * 4
    assert data.terminations.any() and len(set(data.lengths)) > 1
    noisy = 0
    for e, seed in enumerate(episode_seeds(7, "drift", 9)):
        first, last = data.offsets[e], data.offsets[e + 1]
        observation, _ = env.reset(seed=seed)
        for t in range(first, last):
            assert np.array_equal(data.observations[t + e], observation)
            clean = np.clip(observation + np.float32(0.3), -1, 1)
            noisy += not np.array_equal(data.actions[t], clean)
            assert not noisy or e >= 5
            observation, reward, terminated, truncated, _ = env.step(data.actions[t])
            assert (data.rewards[t], data.terminations[t]) == (np.float32(reward), terminated)
        assert np.array_equal(data.observations[last + e], observation) and (terminated or truncated)
    assert noisy > 10
    first, second = store.manifest.tasks[0].origins
    assert (first.policy, first.noise, first.seed, first.first, first.episodes) == ("scripted", 0.0, 7, 0, 5)
    assert (second.noise, second.first, second.quality) == (0.5, 5, "medium") and "gymnasium" in second.versions
    assert store.manifest.tasks[0].source == "collected by pwm: scripted, scripted with noise 0.5"


def test_episodes_do_not_depend_on_their_company(tmp_path, monkeypatch):
    for name, together in (("a", 32), ("b", 2)):
        monkeypatch.setattr(module, "SIDE_BY_SIDE", together)
        collect(tmp_path / name, [Part(SPEC, towards, "scripted", 5, 0.5)], 0)
    assert open_store(tmp_path / "a").fingerprint() == open_store(tmp_path / "b").fingerprint()
    collect(tmp_path / "c", [Part(SPEC, towards, "scripted", 5, 0.5)], 1)
    assert not np.array_equal(open_store(tmp_path / "a")["drift"].actions, open_store(tmp_path / "c")["drift"].actions)


def test_noise_is_normal_and_differs_between_episodes_and_steps():
    spec = TaskSpec("long", 1, 2, 4000, 1, "return", make=lambda **_: None)
    act = with_noise(lambda observations: np.zeros((1, 3, 2), np.float32), 0.2, [spec], [[4, 5, 4]])
    draws = np.stack([act(np.zeros((1, 3, 1)))[0] for _ in range(4000)])
    assert np.array_equal(draws[:, 0], draws[:, 2]) and not np.array_equal(draws[:, 0], draws[:, 1])
    values = draws[:, :2].reshape(-1)
    assert abs(values.mean()) < 0.01 and abs(values.std() - 0.2) < 0.01
    assert abs(np.corrcoef(draws[:-1, 0, 0], draws[1:, 0, 0])[0, 1]) < 0.08
    loud = with_noise(lambda observations: np.zeros((1, 1, 2), np.float32), 50.0, [spec], [[4]])
    assert np.abs(loud(np.zeros((1, 1, 1)))).max() <= 1


def test_seeds_go_on_and_differ_by_task():
    assert episode_seeds(3, "a", 5)[:2] == episode_seeds(3, "a", 2) and episode_seeds(3, "a", 2) != episode_seeds(
        3, "b", 2
    )
    assert episode_seeds(3, "a", 2) != episode_seeds(4, "a", 2)


def test_failures_leave_no_store(tmp_path):
    for part, message in (
        (Part(SPEC, towards, "x", 0), "episodes is 0"),
        (Part(SPEC, towards, "x", 1, -0.1), "noise -0.1"),
        (Part(SPEC, lambda seeds: lambda observations: 1 / 0, "x", 1), "zero"),
    ):
        with pytest.raises((PWMError, ZeroDivisionError), match=message):
            collect(tmp_path / "s", [part], 0)
        with pytest.raises(PWMError, match="no episode store here"):
            open_store(tmp_path / "s")
    with pytest.raises(PWMError, match="seed is -1"):
        collect(tmp_path / "s", [Part(SPEC, towards, "x", 1)], -1)
