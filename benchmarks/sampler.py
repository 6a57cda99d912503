"""Drawing 1024 slices of 17 observations from episode stores of 1, 10 and 40 million transitions: seconds per batch.

The reference cuts one slice after the other in a Python loop, from the same memory-mapped files. Where torchrl is
installed, its SliceSampler stands beside it (`torchrl_s`), over the same transitions as one memory-mapped buffer.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from benchmarks import workload
from benchmarks.harness import compare, seconds
from benchmarks.results import Context, Record, measured
from pwm.data.sampler import SliceBatch, SliceSampler
from pwm.data.store import EpisodeStore

NAME = "sampler"
STORES = {"1M": (67, 500), "10M": (667, 500), "40M": (2667, 500)}
"""Transitions of thirty tasks together -> (episodes per task, steps). The largest takes 4 GB of disk, and its own name
in --only."""
_TORCHRL_UP_TO = 12_000_000  # transitions; its buffer is built in memory


def run(
    context: Context, slices: int = 1024, horizon: int = 16, stores: Mapping[str, tuple[int, int]] = STORES
) -> Iterator[tuple[str, Record]]:
    """Yields (name, record) for each size of store: a batch should take as long from a large one as from a small."""
    for size, (episodes, length) in stores.items():
        name = context.name(NAME, f"{slices}x{horizon + 1}", size)
        if context.quick or not context.wants(name) or size == "40M" and not any(size in only for only in context.only):
            continue
        with workload.synthetic_store(episodes=episodes, length=length) as store:
            yield name, _measure(context, store, slices, horizon)


def _measure(context: Context, store: EpisodeStore, slices: int, horizon: int) -> Record:
    sampler = SliceSampler(store, horizon, slices, seed=0, device=context.device)
    for task in store.tasks:  # as the verification before training does; the first touch of a page costs extra
        for array in (store[task].observations, store[task].actions, store[task].rewards, store[task].terminations):
            array.max()
    step = 0

    def ours() -> SliceBatch:
        nonlocal step
        step += 1
        return sampler.sample(step)

    random = np.random.default_rng(0)
    naive = lambda: one_by_one(store, horizon, slices, random, context.device)  # noqa: E731
    result = compare(ours, naive, context.device, budget_s=min(context.budget_s, 30.0))
    transitions = sum(len(store[task].rewards) for task in store.tasks)
    shapes = {"slices": slices, "horizon": horizon, "tasks": len(store.tasks), "transitions": transitions}
    more = {"ours_cpu_s": _processor_seconds(ours)}
    if importlib.util.find_spec("torchrl") and transitions <= _TORCHRL_UP_TO:
        more["torchrl_s"] = _torchrl_seconds(store, horizon, slices)
    return measured(context, result, None, shapes, **more)


def _processor_seconds(function: Callable[[], object], calls: int = 50) -> float:
    """Median processor time of a call, which other programs on the machine disturb less than the clock's."""
    times = []
    for _ in range(calls):
        begin = time.thread_time()
        function()
        times.append(time.thread_time() - begin)
    return statistics.median(times)


def one_by_one(
    store: EpisodeStore, horizon: int, slices: int, random: np.random.Generator, device: torch.device
) -> SliceBatch:
    """A batch of slices, each cut, padded and stacked on its own."""
    rows: list[tuple] = []
    for _ in range(slices):
        k = int(random.integers(len(store.tasks)))
        data = store[store.tasks[k]]
        lengths = data.lengths
        fitting = np.nonzero(lengths >= horizon)[0]
        starts = lengths[fitting] - horizon + 1
        episode = int(random.choice(fitting, p=starts / starts.sum()))
        first = int(data.offsets[episode]) + int(random.integers(lengths[episode] - horizon + 1))
        observations = np.array(data.observations[first + episode : first + episode + horizon + 1])
        actions = np.array(data.actions[first : first + horizon])
        observations = np.pad(observations, ((0, 0), (0, store.observation_dim - data.observation_dim)))
        actions = np.pad(actions, ((0, 0), (0, store.action_dim - data.action_dim)))
        rewards, ends = data.rewards[first : first + horizon], data.terminations[first : first + horizon]
        rows.append((observations, actions, rewards, ends, k))
    columns = [np.stack(column, axis=1) for column in list(zip(*rows, strict=True))[:4]]
    tasks = np.array([row[4] for row in rows])
    return SliceBatch(*(torch.from_numpy(array).to(device) for array in (*columns, tasks)))


def _torchrl_seconds(store: EpisodeStore, horizon: int, slices: int) -> float:
    """Median seconds of torchrl's SliceSampler, its trajectory index cached, over ten batches."""
    from tensordict import TensorDict
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer
    from torchrl.data.replay_buffers.samplers import SliceSampler as TorchRLSampler

    parts = []
    for k, task in enumerate(store.tasks):
        data = store[task]
        episode = np.repeat(np.arange(len(data.lengths)), data.lengths)
        wide = np.zeros((len(episode), store.observation_dim), np.float32)
        wide[:, : data.observation_dim] = data.observations[np.arange(len(episode)) + episode]
        actions = np.zeros((len(episode), store.action_dim), np.float32)
        actions[:, : data.action_dim] = data.actions
        fields = {"observation": wide, "action": actions, "reward": np.array(data.rewards)}
        fields["episode"] = episode + k * 1_000_000
        tensors = {name: torch.from_numpy(array) for name, array in fields.items()}
        parts.append(TensorDict(tensors, batch_size=[len(episode)]))
    rows = torch.cat(parts)
    with tempfile.TemporaryDirectory() as folder:
        buffer = TensorDictReplayBuffer(
            storage=LazyMemmapStorage(len(rows), scratch_dir=folder),
            sampler=TorchRLSampler(slice_len=horizon + 1, traj_key="episode", cache_values=True),
            batch_size=slices * (horizon + 1),
        )
        buffer.extend(rows)
        draw: Callable[[], object] = buffer.sample
        draw()
        return statistics.median(seconds(draw) for _ in range(10))
