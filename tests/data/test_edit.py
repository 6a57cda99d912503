"""Stores from stores: what is kept is kept bit by bit, and nothing else."""

import numpy as np
import pytest

from pwm.data.edit import choose, merge, write_subset
from pwm.data.manifest import Origin
from pwm.data.store import open_store, sample_store_path
from pwm.runtime.errors import PWMError
from tests.stores import random_store

TAGS = ("random", "medium", "expert", None)


def write(path, tasks=("a", "b"), first=0, episodes=8, width=2, length=6, source=None):
    """Episode i has the return i, and the tag i modulo 4; lengths differ."""
    numbers = range(first, first + episodes)
    return random_store(
        path,
        dict.fromkeys(tasks, (width, 1)),
        [3 + i % 4 for i in numbers],
        ends=[e for e, i in enumerate(numbers) if i % 3 == 0],
        rewards=lambda observations, e: np.full(len(observations) - 1, (first + e) / (len(observations) - 1)),
        tags=[TAGS[i % 4] for i in numbers],
        episode_length=length,
        source=source,
        origins=[Origin("random", 0.0, first, 0, episodes, None, {"mujoco": "3"})],
        seed=first,
    )


def episode(store, task, e):
    data = store[task]
    rows = slice(data.offsets[e], data.offsets[e + 1])
    observations = data.observations[rows.start + e : rows.stop + e + 1]
    arrays = (observations, data.actions[rows], data.rewards[rows], data.terminations[rows])
    return [x.tobytes() for x in arrays] + [str(store.quality(task)[e])]


def test_choose_by_tag_return_and_number(tmp_path):
    store = write(tmp_path / "s")
    assert {task: kept.tolist() for task, kept in choose(store).items()} == {"a": [*range(8)], "b": [*range(8)]}
    assert choose(store, ["expert", "random"])["a"].tolist() == [0, 2, 4, 6]
    assert choose(store, return_quantiles=(0.75, 1.0))["a"].tolist() == [6, 7]
    assert choose(store, return_quantiles=(0.0, 0.25))["b"].tolist() == [0, 1]
    assert choose(store, ["expert", "random"], (0.5, 1.0))["a"].tolist() == [4, 6]
    drawn = choose(store, episodes=3, seed=1)
    assert [len(kept) for kept in drawn.values()] == [3, 3] and (np.diff(drawn["a"]) > 0).all()
    assert np.array_equal(drawn["a"], choose(store, episodes=3, seed=1)["a"])
    assert len({tuple(choose(store, episodes=3, seed=s)["a"]) for s in range(20)}) > 5
    assert len(choose(store, episodes=30)["a"]) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qualities": ["experts"]}, "no episode has quality 'experts'; there are expert, medium, random"),
        ({"return_quantiles": (0.5, 0.5)}, "need 0 <= low < high <= 1"),
        ({"return_quantiles": (0.0, 1.5)}, "need 0 <= low < high <= 1"),
        ({"return_quantiles": (0.5, 0.51)}, "no episode of task a is left"),
        ({"episodes": 0}, "episodes is 0"),
    ],
)
def test_wrong_choices(tmp_path, options, message):
    with pytest.raises(PWMError, match=message):
        choose(write(tmp_path / "s"), **options)


def test_a_subset_holds_the_chosen_episodes_bit_by_bit(tmp_path):
    store = write(tmp_path / "s", source="here")
    chosen = {"b": np.array([1, 2, 7]), "a": np.array([0])}
    write_subset(store, tmp_path / "t", chosen, "some")
    part = open_store(tmp_path / "t", verify=True)
    assert part.tasks == ("b", "a")
    for task, kept in chosen.items():
        assert [episode(part, task, i) for i in range(len(kept))] == [episode(store, task, e) for e in kept]
    assert part.manifest.tasks[0].source == "here; some"
    assert part.manifest.tasks[0].origins == store.manifest.tasks[1].origins


def test_a_merge_holds_everything_in_order(tmp_path):
    one, two = write(tmp_path / "1", ("a", "b"), source="x"), write(tmp_path / "2", ("b", "c"), 8, 5, length=9)
    merge([one, two], tmp_path / "m")
    both = open_store(tmp_path / "m", verify=True)
    assert both.tasks == ("a", "b", "c") and both["b"].episode_length == 9
    whole = [episode(one, "b", e) for e in range(8)] + [episode(two, "b", e) for e in range(5)]
    assert [episode(both, "b", e) for e in range(13)] == whole
    assert [origin.seed for origin in both.manifest.tasks[1].origins] == [0, 8]
    assert [entry.source for entry in both.manifest.tasks] == ["x", "x", None]


def test_taking_apart_and_joining_gives_the_same_bytes(tmp_path):
    store = open_store(sample_store_path())
    for name, tasks in (("x", store.tasks[:1]), ("y", store.tasks[1:])):
        part = open_store(store.path, tasks)
        write_subset(part, tmp_path / name, choose(part), note="")
    merge([open_store(tmp_path / name) for name in "xy"], tmp_path / "z")
    assert open_store(tmp_path / "z", verify=True).fingerprint() == store.fingerprint()


def test_stores_that_disagree_do_not_merge(tmp_path):
    one, two = write(tmp_path / "1"), write(tmp_path / "2", width=3)
    with pytest.raises(PWMError, match="2: task a: observation_dim is 2 in .*1, 3 here"):
        merge([one, two], tmp_path / "m")
    with pytest.raises(PWMError, match="already holds an episode store"):
        merge([one], tmp_path / "2")
    assert open_store(tmp_path / "2", verify=True)["a"].observation_dim == 3
