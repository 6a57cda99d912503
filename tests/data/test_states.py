"""Start states: each member draws from its own task, uniformly; weights by return."""

import numpy as np
import pytest
import scipy.stats
import torch

from pwm.data.states import COARSE, StateSource, rank_weights
from pwm.data.store import EpisodeStore, TaskEpisodes
from pwm.runtime import random
from pwm.runtime.errors import PWMError
from tests.stores import SCALE, tagged_store

LENGTHS = {"narrow": (5, 1, 3), "wide": (4, 2)}
DIMS = {"narrow": (2, 1), "wide": (4, 3)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tagged_store(tmp_path_factory.mktemp("starts") / "store", DIMS, LENGTHS, [("narrow", 0), ("wide", 0)])


def grid(members, count=600):
    return ((torch.arange(count) + 0.5) / count).expand(members, count)


def test_members_draw_uniformly_from_their_own_task(store):
    observations, actions = StateSource(store, ["wide", "narrow", "wide"]).gather(grid(3))
    states = [2000, 2001, 2002, 2003, 2100, 2101], [*range(1000, 1005), 1100, *range(1200, 1203)]
    for row, expected in enumerate(states):
        values, counts = np.unique(observations[row, :, 0].numpy(), return_counts=True)
        assert values.tolist() == expected
        assert counts.max() - counts.min() <= 1
    assert torch.equal(observations[0], observations[2])
    assert torch.equal(actions[:, :, 0] * SCALE, observations[:, :, 0] + 0.25)
    assert not observations[1, :, 2:].any() and not actions[1, :, 1:].any()


def test_ends_of_the_unit_interval_and_padding(store):
    observations, actions = StateSource(store, ["narrow"], widths=(7, 5)).gather(torch.tensor([[0.0, 1.0]]))
    assert observations[0, :, 0].tolist() == [1000, 1202]
    assert observations.shape == (1, 2, 7) and actions.shape == (1, 2, 5)


def test_weighted_episodes_and_errors(store):
    source = StateSource(store, ["narrow"], weights={"narrow": np.array([0.0, 4.0, 2.0])})
    observations, _ = source.gather(grid(1, 1000))
    values, counts = np.unique(observations[0, :, 0].numpy(), return_counts=True)
    assert values.tolist() == [1100, 1200, 1201, 1202] and counts.tolist() == [400, 200, 200, 200]
    for wrong in (np.zeros(2), np.array([2.0, -1.0]), np.array([1.0, np.inf])):
        with pytest.raises(PWMError, match="weights"):
            StateSource(store, ["wide"], weights={"wide": wrong})
    with pytest.raises(PWMError, match="other"):
        StateSource(store, ["other"])


def test_weighted_transitions(store):
    weights = np.array([1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0])
    source = StateSource(store, ["narrow"], weights={"narrow": weights}, early=0.5)
    observations, actions = source.gather(torch.cat((grid(1, 400), grid(1, 400)), dim=1))
    early, late = observations[0, :400, 0].numpy(), observations[0, 400:, 0].numpy()
    assert np.unique(early, return_counts=True)[0].tolist() == [1000, 1200]
    assert np.unique(early, return_counts=True)[1].tolist() == [80, 320]
    values, counts = np.unique(late, return_counts=True)
    assert values.tolist() == [1000, 1002, 1200] and counts.tolist() == [50, 150, 200]
    assert torch.equal(actions[0, :, 0] * SCALE, observations[0, :, 0] + 0.25)
    ends = source.gather(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))[0][0, :, 0]
    assert ends.tolist() == [1200, 1000, 1000, 1200]
    with pytest.raises(PWMError, match="narrow: weights"):
        StateSource(store, ["narrow"], weights={"narrow": np.zeros(9)})


def test_rank_weights_prefer_high_returns(store):
    assert store.returns("narrow").tolist() == [5012.5, 1100.5, 3604.5]
    np.testing.assert_allclose(rank_weights(store, "narrow", 2.0), [1.0, 1 / 9, 4 / 9])
    np.testing.assert_allclose(rank_weights(store, "narrow", 0.0), 1.0)


def test_equal_returns_weigh_the_same(store, monkeypatch):
    tied = np.array([5.0, 1.0, 5.0, 0.0, 5.0, 1.0], np.float32)
    monkeypatch.setattr(type(store), "returns", lambda self, task: tied)
    expected = scipy.stats.rankdata(tied, method="average") / 6
    np.testing.assert_allclose(rank_weights(store, "narrow", 1.0), expected)
    np.testing.assert_allclose(rank_weights(store, "narrow", 3.0), expected**3)


def test_a_share_of_the_batch_comes_from_the_beginnings(store):
    only = {"narrow": np.array([1.0, 0.0, 0.0])}
    source = StateSource(store, ["narrow"], weights=only, early=0.5)
    observations, _ = source.gather(torch.rand(1, 2000, generator=torch.Generator().manual_seed(0)))
    steps = observations[0, :, 0].numpy() - 1000
    assert (steps[:1000] == 0).all()  # the first tenth of five steps
    assert np.bincount(steps[1000:].astype(int)).min() > 150


def test_states_are_the_observations_of_gather(store):
    source = StateSource(store, ["wide", "narrow", "wide"], early=0.25)
    assert torch.equal(source.states(grid(3)), source.gather(grid(3))[0])


def large_store(transitions):
    """One episode of zeros that takes no memory; a row's number is all that matters."""
    column = lambda width: np.broadcast_to(np.float32(0), (transitions + 1, width))  # noqa: E731
    flat = np.broadcast_to(np.float32(0), (transitions,))
    sizes = {"observation_dim": 1, "action_dim": 1, "episode_length": transitions, "action_repeat": 1}
    offsets = np.array([0, transitions])
    task = TaskEpisodes("t", column(1), column(1)[1:], flat, np.broadcast_to(False, (transitions,)), offsets, **sizes)
    return EpisodeStore(None, None, {"t": task})


def test_every_transition_of_a_large_store_can_be_drawn():
    """With 2^23 numbers for 2^25 transitions, three of four could never be."""
    source, keys = StateSource(large_store(1 << 25), ["t"]), torch.tensor([random.key_of(0, "t")])
    rows = source._rows(source.draw(keys, 0, 40_000))["t"][0][0]
    counts = np.bincount(rows % 4, minlength=4)
    assert np.abs(counts - 10_000).max() < 5 * (40_000 * 0.25 * 0.75) ** 0.5
    rows = source._rows(random.uniform(keys, 0, (40_000,)))["t"][0][0]
    assert np.bincount(rows % 4, minlength=4).max() == 40_000


def test_small_stores_get_the_numbers_that_they_always_got(store):
    keys = torch.tensor([1, 2])
    for transitions, coarse in ((COARSE, True), (COARSE + 1, False)):
        drawn = StateSource(large_store(transitions), ["t", "t"]).draw(keys, 5, 100)
        assert torch.equal(drawn.float(), random.uniform(keys, 5, (100,))) == coarse
        assert (drawn.dtype == torch.float32) == coarse
