"""A growing store: sealed segments, the same episodes for the same number of them, nothing lost in a kill."""

import numpy as np
import pytest

from pwm.data.growing import Episode, GrowingStore
from pwm.data.sampler import SliceSampler
from pwm.data.store import open_store
from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from pwm.tasks.spec import TaskSpec

SPECS = [TaskSpec(id, o, a, 6, 2, "return", lambda **_: None) for id, o, a in (("narrow", 2, 1), ("wide", 4, 3))]


def episode(spec, steps, value, terminated=False):
    ends = np.zeros(steps, bool)
    ends[-1] = terminated
    observations = np.full((steps + 1, spec.observation_dim), value, np.float32)
    return Episode(observations, np.full((steps, spec.action_dim), 0.5, np.float32), np.arange(steps) + value, ends)


def round_of(value, steps=4):
    return {spec.id: [episode(spec, steps, value), episode(spec, 2, value + 0.5, True)] for spec in SPECS}


def grown(path, rounds):
    store = GrowingStore(path, SPECS)
    for value in range(rounds):
        store.append(round_of(value), "test")
    return store


def same(a, b):
    assert a.tasks == b.tasks and a.fingerprint() == b.fingerprint()
    for task in a.tasks:
        for name in ("observations", "actions", "rewards", "terminations", "offsets"):
            np.testing.assert_array_equal(getattr(a[task], name), getattr(b[task], name))


def test_what_is_appended_is_read_back_newest_last(tmp_path):
    store = grown(tmp_path / "grown", 3)
    data = store.upto()["wide"]
    assert store.segments == 3 and store.episodes("wide") == 6 and store.episodes("wide", 1) == 2
    np.testing.assert_array_equal(data.offsets, [0, 4, 6, 10, 12, 16, 18])
    np.testing.assert_array_equal(data.observations[:8, 0], [0, 0, 0, 0, 0, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(data.rewards[-6:], [2, 3, 4, 5, 2.5, 3.5])
    assert data.terminations.nonzero()[0].tolist() == [5, 11, 17]
    assert store.upto().returns("wide").tolist() == [6, 2, 10, 4, 14, 6]


def test_a_number_of_segments_is_the_same_store_for_ever(tmp_path):
    store = grown(tmp_path / "grown", 2)
    before = store.upto(1)
    batch = SliceSampler(before, 2, 8, seed=3).sample(5)
    for value in range(2, 40):  # the buffers move several times
        store.append(round_of(value))
    same(before, store.upto(1))
    for again in (store, GrowingStore(tmp_path / "grown", SPECS)):
        same(before, again.upto(1))
        for x, y in zip(batch, SliceSampler(again.upto(1), 2, 8, seed=3).sample(5), strict=True):
            assert x.equal(y)
    assert store.upto(1).fingerprint() != store.upto(2).fingerprint()


def test_a_segment_is_an_ordinary_store(tmp_path):
    grown(tmp_path / "grown", 2)
    segment = open_store(tmp_path / "grown" / "segment-000001", verify=True)
    assert segment.tasks == ("narrow", "wide") and segment["narrow"].rewards[0] == 1


def test_a_killed_writer_leaves_no_segment(tmp_path, monkeypatch):
    store = grown(tmp_path / "grown", 2)
    monkeypatch.setattr("pwm.data.growing.os.rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.append(round_of(2))
    monkeypatch.undo()
    again = GrowingStore(tmp_path / "grown", SPECS)
    same(again.upto(), store.upto(2))
    again.append(round_of(2))
    assert sorted(path.name for path in (tmp_path / "grown").iterdir()) == [f"segment-00000{k}" for k in range(3)]


def test_a_refused_episode_seals_nothing(tmp_path):
    store = grown(tmp_path / "grown", 1)
    wrong = round_of(1)
    wrong["wide"][1].actions[0] = 2.0
    with pytest.raises(PWMError, match=r"task wide, episode 1, actions: 2 at step 0 is outside"):
        store.append(wrong)
    with pytest.raises(PWMError, match="no task 'tall' in this store; it has narrow, wide"):
        store.append({"tall": []})
    assert store.segments == 1
    store.append(round_of(1), "test")
    same(store.upto(), grown(tmp_path / "other", 2).upto())


def test_a_base_comes_first_and_a_segment_may_lack_tasks(tmp_path):
    with StoreWriter(tmp_path / "logs") as writer:
        for spec in SPECS:
            writer.add_task(spec.id, spec.observation_dim, spec.action_dim, 6, 2)
            writer.add_episode(spec.id, *episode(spec, 3, 7))
    base = open_store(tmp_path / "logs")
    store = GrowingStore(tmp_path / "grown", SPECS, base)
    assert store.segments == 0 and store.upto()["wide"].offsets.tolist() == [0, 3]
    store.append({"wide": [episode(SPECS[1], 5, 8)]})
    assert [store.upto()[task].offsets.tolist() for task in ("narrow", "wide")] == [[0, 3], [0, 3, 8]]


def test_what_does_not_fit_is_named(tmp_path):
    store = GrowingStore(tmp_path / "grown", SPECS)
    with pytest.raises(PWMError, match="task narrow has no episodes yet"):
        store.upto()
    store.append(round_of(0))
    store.append(round_of(1))
    with pytest.raises(PWMError, match="has 2 segments, not 3"):
        store.upto(3)
    other = [TaskSpec("wide", 4, 3, 6, 1, "return", lambda **_: None)]
    with pytest.raises(PWMError, match="task wide has action_repeat 2 there, but 1 here"):
        GrowingStore(tmp_path / "grown", other)
    (tmp_path / "grown" / "segment-000000").rename(tmp_path / "elsewhere")
    with pytest.raises(PWMError, match="segment-000000: missing, though there are later segments"):
        GrowingStore(tmp_path / "grown", SPECS)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "terminations", "offsets"])
def test_a_flipped_bit_is_named_with_its_file(tmp_path, name):
    grown(tmp_path / "grown", 2)
    path = tmp_path / "grown" / "segment-000001" / "wide" / f"{name}.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x01 if name == "terminations" else 0x40
    path.write_bytes(bytes(data))
    with pytest.raises(PWMError, match=f"segment-000001/wide/{name}.npy: "):
        GrowingStore(tmp_path / "grown", SPECS)
