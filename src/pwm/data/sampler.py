"""Slices of episodes from a store, to train the world model on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from pwm.data.manifest import ARRAYS
from pwm.data.store import EpisodeStore
from pwm.runtime.config import require
from pwm.runtime.errors import PWMError

Episodes = Mapping[str, np.ndarray]
EARLY = 0.1  # fraction of an episode that counts as its beginning
_WORD = (1 << 64) - 1


class SliceBatch(NamedTuple):
    """B slices of H transitions. Observations and actions are zero-padded at the end to the widest task's O and A.

    `rewards[t]` and `terminations[t]` belong to `actions[t]`, which led from `observations[t]` to the next one.
    """

    observations: torch.Tensor  # float32 [H + 1, B, O]
    actions: torch.Tensor  # float32 [H, B, A]
    rewards: torch.Tensor  # float32 [H, B]
    terminations: torch.Tensor  # bool [H, B]
    tasks: torch.Tensor  # int64 [B], positions in store.tasks


class SliceSampler:
    """Draws slices of `horizon` consecutive transitions, each from one episode.

    A slice's task is drawn uniformly, then its start uniformly among those of the task that leave room for the horizon;
    shorter episodes are never drawn. A fraction `early` of every batch starts in the first tenth of an episode instead,
    which often decides the return and makes up little of the data. `episodes` (task -> episode numbers, as from
    `split_episodes`) restricts sampling to these. The cost of a batch does not depend on the size of the store.

    Raises:
        PWMError: no episode of some task is long enough, or an episode number is not in the store.
    """

    def __init__(
        self,
        store: EpisodeStore,
        horizon: int,
        batch_size: int,
        seed: int,
        device: str | torch.device = "cpu",
        episodes: Episodes | None = None,
        early: float = 0.0,
    ) -> None:
        self._early = round(early * batch_size)
        if horizon < 1 or batch_size < 1:
            raise PWMError(f"horizon {horizon} and batch_size {batch_size} must be at least 1")
        self.store, self.horizon, self.batch_size, self.seed = store, horizon, batch_size, seed
        self.device = torch.device(device)
        fitting, starts = [], []
        for task in store.tasks:
            chosen = _chosen(store, task, episodes)
            lengths = store[task].lengths[chosen]
            if not (lengths >= horizon).any():
                longest = lengths.max(initial=0)
                raise PWMError(f"task {task}: no episode has {horizon} steps (longest: {longest}); lower the horizon")
            fitting.append(chosen[lengths >= horizon])
            starts.append(lengths[lengths >= horizon] - horizon + 1)
        # Start positions are numbered over all tasks' episodes: _ends[j] counts those of episodes 0..j, so one binary
        # search finds the episode of a start. Task k has starts _first[k] to _first[k] + _count[k].
        self._episode, self._ends = np.concatenate(fitting), np.cumsum(np.concatenate(starts))
        self._count = np.array([s.sum() for s in starts])
        self._first = np.cumsum(self._count) - self._count
        self._offset = np.concatenate([store[t].offsets[e] for t, e in zip(store.tasks, fitting, strict=True)])
        self._starts = np.concatenate(starts)
        widths = {"observations": store.observation_dim, "actions": store.action_dim}
        self._fields = [(name, widths.get(name, 1), np.dtype(dtype)) for name, dtype in ARRAYS.items()]
        self._windows = {
            name: [_windows(getattr(store[t], name), horizon + (name == "observations")) for t in store.tasks]
            for name in ARRAYS
        }

    def sample(self, step: int) -> SliceBatch:
        """The batch of training step `step`, a pure function of (seed, step)."""
        random = np.random.Generator(np.random.Philox(key=np.array([self.seed & _WORD, step & _WORD], np.uint64)))
        tasks = random.integers(len(self.store.tasks), size=self.batch_size)
        number = self._first[tasks] + random.integers(self._count[tasks])
        j = np.searchsorted(self._ends, number, side="right")
        step = number - (self._ends[j] - self._starts[j])
        step[: self._early] = (step[: self._early] * EARLY).astype(step.dtype)
        transition = self._offset[j] + step
        return self._gather(tasks, transition, transition + self._episode[j])

    def _gather(self, tasks: np.ndarray, transition: np.ndarray, observation: np.ndarray) -> SliceBatch:
        """Slices whose first transition and first observation are at these rows of their tasks' files, all [B]."""
        # Reads whole slices, task by task, and then puts them in place: three times as fast as reading single rows.
        b, last = self.batch_size, np.cumsum(np.bincount(tasks, minlength=len(self.store.tasks))).tolist()
        order = np.argsort(tasks, kind="stable")
        place = np.empty(b, np.int64)
        place[order] = np.arange(b)
        fields = []
        for name, width, dtype in self._fields:
            long = self.horizon + (name == "observations")
            slices = np.zeros((b, long, width), dtype)
            first = (observation if name == "observations" else transition)[order]
            begin = 0
            for window, end in zip(self._windows[name], last):
                if end > begin:
                    slices[begin:end, :, : window.shape[2]] = window[first[begin:end]]
                begin = end
            rows = torch.from_numpy(place * long + np.arange(long)[:, None]).view(-1)
            fields.append(torch.from_numpy(slices).view(b * long, width).index_select(0, rows).view(long, b, width))
        observations, actions, rewards, terminations = fields
        batch = (observations, actions, rewards[..., 0], terminations[..., 0], torch.from_numpy(tasks))
        return SliceBatch(*(to_device(tensor, self.device) for tensor in batch))


def _windows(array: np.ndarray, length: int) -> np.ndarray:
    """Sliding windows over the rows of an array [N] or [N, width], as a view [N - length + 1, length, width]."""
    array = array.reshape(len(array), -1)
    shape, strides = (len(array) - length + 1, length, array.shape[1]), (array.strides[0], *array.strides)
    return np.lib.stride_tricks.as_strided(array, shape, strides, writeable=False)


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Move a tensor to a device, asynchronously if it is a GPU."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def split_episodes(
    store: EpisodeStore, held_out_fraction: float, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Split every task's episodes at random into (train, held out), as sorted int64 episode numbers.

    A fraction above zero holds out at least one episode of each task that has two or more, and always leaves one to
    train on. The split of a task depends on its id, the seed and the fraction, not on the other tasks. Raises PWMError
    if the fraction is not in [0, 1).
    """
    require(0 <= held_out_fraction < 1, "held_out_fraction", held_out_fraction, "in [0, 1)")
    train, held_out = {}, {}
    for task in store.tasks:
        count = len(store[task].lengths)
        size = min(max(round(held_out_fraction * count), held_out_fraction > 0), count - 1)
        order = np.random.default_rng([seed & _WORD, zlib.crc32(task.encode())]).permutation(count)
        held_out[task], train[task] = np.sort(order[:size]), np.sort(order[size:])
    return train, held_out


def _chosen(store: EpisodeStore, task: str, episodes: Episodes | None) -> np.ndarray:
    count = len(store[task].lengths)
    if episodes is None:
        return np.arange(count)
    chosen = np.unique(np.asarray(episodes.get(task, ()), np.int64))
    if not len(chosen) or chosen[0] < 0 or chosen[-1] >= count:
        raise PWMError(f"task {task}: choose episodes from 0 to {count - 1}, at least one; got {len(chosen)}")
    return chosen
