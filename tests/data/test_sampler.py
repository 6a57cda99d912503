import numpy as np
import pytest
import torch

from pwm.data.sampler import SliceSampler, split_episodes
from pwm.data.store import open_store
from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from tests.stores import SCALE, tag, tagged_store

LENGTHS = {"narrow": (5, 1, 3, 4, 3), "wide": (6, 2, 3)}
DIMS = {"narrow": (2, 1), "wide": (4, 3)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tagged_store(tmp_path_factory.mktemp("store"), DIMS, LENGTHS, [("wide", 1)])


def tag_of(task, episode, step):
    return tag(list(LENGTHS).index(task), episode, step)


def starts(batch):
    """The tag of every slice's first observation."""
    return batch.observations[0, :, 0].int().tolist()


def test_shapes_and_dtypes(store):
    batch = SliceSampler(store, horizon=2, batch_size=7, seed=0).sample(0)
    assert [tuple(x.shape) for x in batch] == [(3, 7, 4), (2, 7, 3), (2, 7), (2, 7), (7,)]
    assert [x.dtype for x in batch] == [torch.float32] * 3 + [torch.bool, torch.int64]


@pytest.mark.parametrize("horizon", [1, 2, 3, 4])
def test_slices_are_consecutive_aligned_padded_and_stay_inside_one_episode(store, horizon):
    batch = SliceSampler(store, horizon, 512, seed=1).sample(3)
    for b, start in enumerate(starts(batch)):
        task = store.tasks[batch.tasks[b]]
        episode, step = start % 1000 // 100, start % 100
        assert start == tag_of(task, episode, step) and step + horizon <= LENGTHS[task][episode]
        o, a = DIMS[task]
        wanted = torch.arange(start, start + horizon + 1, dtype=torch.float32)
        assert torch.equal(batch.observations[:, b, :o], wanted[:, None].expand(-1, o))
        assert torch.equal(batch.actions[:, b, :a], (wanted[:-1, None].expand(-1, a) + 0.25) / SCALE)
        assert torch.equal(batch.rewards[:, b], wanted[:-1] + 0.5)
        assert not batch.observations[:, b, o:].any() and not batch.actions[:, b, a:].any()
        ends = [task == "wide" and episode == 1 and step + t == LENGTHS[task][episode] - 1 for t in range(horizon)]
        assert batch.terminations[:, b].tolist() == ends


def test_batch_is_a_pure_function_of_seed_and_step(store):
    first, second = (SliceSampler(store, 2, 64, seed=5) for _ in range(2))
    for step in (9, 0, 4):
        second.sample(step)
    assert all(torch.equal(x, y) for x, y in zip(first.sample(4), second.sample(4), strict=True))
    others = (
        first.sample(5),
        SliceSampler(store, 2, 64, seed=6).sample(4),
        SliceSampler(store, 2, 64, seed=4).sample(5),
    )
    for other in others:
        assert starts(other) != starts(first.sample(4))


def test_tasks_are_uniform_and_then_starts_are(store):
    horizon, n = 2, 60_000
    drawn = starts(SliceSampler(store, horizon, n, seed=0).sample(0))
    for task, lengths in LENGTHS.items():
        valid = [tag_of(task, e, t) for e, steps in enumerate(lengths) for t in range(steps - horizon + 1)]
        counts = np.array([drawn.count(start) for start in valid])
        share = 1 / len(LENGTHS) / len(valid)
        # Five standard deviations of a binomial count.
        assert np.abs(counts - n * share).max() < 5 * np.sqrt(n * share * (1 - share)), task


def test_only_chosen_episodes_are_drawn(store):
    chosen = {"narrow": np.array([3, 0]), "wide": np.array([2])}
    drawn = set(starts(SliceSampler(store, 3, 500, seed=0, episodes=chosen).sample(0)))
    assert drawn == {1000, 1001, 1002, 1300, 1301, 2200}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 6}, r"task narrow: no episode has 6 steps \(longest: 5\); lower the horizon"),
        ({"horizon": 0}, "horizon 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"episodes": {"narrow": np.array([5]), "wide": np.array([0])}}, "task narrow: choose episodes from 0 to 4"),
        ({"episodes": {"narrow": np.array([-1]), "wide": np.array([0])}}, "task narrow: choose episodes"),
        ({"episodes": {"narrow": np.array([0])}}, "task wide: choose episodes"),
    ],
)
def test_wrong_choices(store, options, message):
    with pytest.raises(PWMError, match=message):
        SliceSampler(store, **{"horizon": 2, "batch_size": 4, "seed": 0, **options})


def test_split_divides_every_task(store):
    train, held_out = split_episodes(store, 0.4, seed=0)
    for task, lengths in LENGTHS.items():
        assert sorted([*train[task], *held_out[task]]) == list(range(len(lengths)))
        assert np.array_equal(train[task], np.sort(train[task]))
    assert len(held_out["narrow"]) == 2 and len(held_out["wide"]) == 1


def test_split_edges_and_seed(store):
    assert [len(x) for x in split_episodes(store, 0.0, 0)[1].values()] == [0, 0]
    assert [len(x) for x in split_episodes(store, 1e-6, 0)[1].values()] == [1, 1]
    assert [len(x) for x in split_episodes(store, 0.999, 0)[0].values()] == [1, 1]
    different = {tuple(split_episodes(store, 0.4, seed)[1]["narrow"]) for seed in range(20)}
    assert len(different) > 3
    alone = open_store(store.path, tasks=["wide"])
    assert np.array_equal(split_episodes(alone, 0.4, 3)[1]["wide"], split_episodes(store, 0.4, 3)[1]["wide"])
    with pytest.raises(PWMError, match="held_out_fraction is 1.0"):
        split_episodes(store, 1.0, 0)


def test_equal_tasks_are_split_apart(tmp_path):
    with StoreWriter(tmp_path / "store") as writer:
        for task in ("a", "b"):
            writer.add_task(task, 1, 1, episode_length=1, action_repeat=1)
            for _ in range(30):
                writer.add_episode(task, np.zeros((2, 1), np.float32), np.zeros((1, 1), np.float32), np.zeros(1))
    held_out = split_episodes(open_store(tmp_path / "store"), 0.5, 0)[1]
    assert not np.array_equal(held_out["a"], held_out["b"])


def test_a_share_of_the_slices_starts_early(tmp_path):
    with StoreWriter(tmp_path / "store") as writer:
        writer.add_task("long", 1, 1, episode_length=100, action_repeat=1)
        for _ in range(2):
            steps = np.arange(101, dtype=np.float32)[:, None]
            writer.add_episode("long", steps, np.zeros((100, 1), np.float32), np.zeros(100, np.float32))
    batch = SliceSampler(open_store(tmp_path / "store"), 5, 400, seed=0, early=0.25).sample(0)
    first = batch.observations[0, :, 0]
    assert first[:100].max() == 9 and first[100:].max() > 85
    assert torch.equal(batch.observations[3, :, 0], first + 3)
