"""New stores from existing ones: a subset of one, or several merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pwm.data.manifest import SIZES, TaskEntry
from pwm.data.store import EpisodeStore
from pwm.data.writer import StoreWriter, check_space
from pwm.runtime.config import require
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.progress import Progress, progress

_Part = tuple[EpisodeStore, TaskEntry, np.ndarray]  # episodes of one task of a store


def choose(
    store: EpisodeStore,
    qualities: Sequence[str] = (),
    return_quantiles: tuple[float, float] = (0.0, 1.0),
    episodes: int | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Select episodes of each task: filter by tag, then by return, then draw at random.

    Args:
        qualities: tags to keep; all episodes by default.
        return_quantiles: (low, high) of a task's episodes ordered by return: (0.9, 1) keeps the best tenth.
        episodes: at most this many of each task, drawn without replacement.
        seed: of that draw.

    Returns:
        Episode numbers by task, ascending.

    Raises:
        PWMError: a tag is unknown, the quantiles are invalid, or no episode of a task is left.
    """
    low, high = return_quantiles
    if not 0.0 <= low < high <= 1.0:
        raise PWMError(f"return quantiles are {low:g} and {high:g}; need 0 <= low < high <= 1")
    require(episodes is None or episodes >= 1, "episodes", episodes, "at least 1")
    known = {task: store.quality(task) for task in store.tasks}
    for tag in qualities:
        if not any((tags == tag).any() for tags in known.values()):
            listed = ", ".join(sorted({str(t) for tags in known.values() for t in np.unique(tags) if t})) or "none"
            raise PWMError(f"{store.path}: no episode has quality {tag!r}; there are {listed}")
    chosen = {}
    for k, task in enumerate(store.tasks):
        kept = np.arange(len(store[task].lengths))
        if qualities:
            kept = kept[np.isin(known[task], list(qualities))]
        order = kept[np.argsort(store.returns(task)[kept], kind="stable")]
        kept = order[round(low * len(order)) : round(high * len(order))]
        if not len(kept):
            raise PWMError(f"{store.path}: no episode of task {task} is left; widen the choice, or leave the task out")
        if episodes is not None and episodes < len(kept):
            kept = np.random.default_rng([seed, k]).choice(np.sort(kept), episodes, replace=False)
        chosen[task] = np.sort(kept)
    return chosen


def write_subset(store: EpisodeStore, out: PathLike, chosen: Mapping[str, np.ndarray], note: str = "subset") -> None:
    """Write the chosen episodes of each task to the store `out`; `note` is appended to each task's source."""
    entries = {entry.id: entry for entry in store.manifest.tasks}
    sources = {task: "; ".join(filter(None, (entries[task].source, note))) for task in chosen}
    _write(out, {task: [(store, entries[task], kept)] for task, kept in chosen.items()}, sources)


def merge(stores: Sequence[EpisodeStore], out: PathLike) -> None:
    """Write all episodes of all stores to the store `out`, in the given order.

    Raises:
        PWMError: two stores hold a task with different sizes or action repeats.
    """
    parts: dict[str, list[_Part]] = {}
    for store in stores:
        for entry in store.manifest.tasks:
            if entry.id not in store.tasks:
                continue
            before = parts.setdefault(entry.id, [])
            for name in (name for name in SIZES if name != "episode_length"):
                if before and getattr(entry, name) != getattr(before[0][1], name):
                    values = f"{getattr(before[0][1], name)} in {before[0][0].path}, {getattr(entry, name)} here"
                    raise PWMError(f"{store.path}: task {entry.id}: {name} is {values}; merge stores that agree")
            before.append((store, entry, np.arange(entry.episodes)))
    sources = {
        task: "; ".join(dict.fromkeys(entry.source for _, entry, _ in part if entry.source)) or None
        for task, part in parts.items()
    }
    _write(out, parts, sources)


def _write(out: PathLike, parts: Mapping[str, Sequence[_Part]], sources: Mapping[str, str | None]) -> None:
    total, size = 0, 0
    for task, part in parts.items():
        for store, entry, kept in part:
            total += len(kept)
            size += int((store[task].lengths[kept] + 1).sum()) * 4 * (entry.observation_dim + entry.action_dim + 2)
    check_space(out, size)
    with StoreWriter(out) as writer:
        with progress("Episodes", total) as bar:
            for task, part in parts.items():
                first, longest = part[0][1], max(entry.episode_length for _, entry, _ in part)
                origins = [origin for _, entry, _ in part for origin in entry.origins]
                widths = (first.observation_dim, first.action_dim)
                writer.add_task(task, *widths, longest, first.action_repeat, sources[task], origins)
                for store, _, kept in part:
                    copy_episodes(writer, store, task, kept, bar)
        writer.close(show=True)


def copy_episodes(writer: StoreWriter, store: EpisodeStore, task: str, episodes: np.ndarray, bar: Progress) -> None:
    """Append these episodes of a store, with their tags."""
    data, tags = store[task], store.quality(task)
    for e in episodes.tolist():
        writer.add_episode(task, *data.episode(e), quality=str(tags[e]) or None)
        bar.advance()
