"""Converts Minari datasets to an episode store; both layouts have T actions for T + 1 observations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pwm.data.manifest import Origin
from pwm.data.writer import StoreWriter, WrongEpisode, check_space
from pwm.runtime.config import from_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, parse_json, read_bytes
from pwm.runtime.progress import progress

if TYPE_CHECKING:
    import gymnasium

OURS = "pwm"  # key in an exported dataset's metadata for what Minari has no field for
_AT_ONCE = 64  # episodes read per call


def minari_module() -> Any:
    """Import Minari. Raises PWMError if it is not installed."""
    try:
        import minari
    except ImportError as error:
        raise PWMError(f"Minari is not installed ({error}); pip install 'pwm[minari]'") from error
    return minari


def store_from_minari(
    sources: Mapping[str, str],
    out: PathLike,
    download: bool = False,
    action_repeat: int | None = None,
    quality: str | None = None,
    skip_damaged: bool = False,
) -> int:
    """Write the store `out` from one Minari dataset per task; returns how many damaged episodes were skipped.

    Actions are rescaled from the bounds of their space to [-1, 1]. Observations in a Dict or Tuple space are flattened
    in the order of the space.

    Args:
        sources: task id -> folder of a dataset, or the name of a local Minari dataset. A task id that starts with "?"
            is a guess: the id recorded by `export_minari`, if there is one, replaces it.
        download: fetch datasets that are not found locally; otherwise the network is not used.
        action_repeat: simulator steps per recorded step; by default what `export_minari` recorded, else 1.
        quality: a tag for episodes that have none.
        skip_damaged: skip episodes with NaN or with actions outside their space, instead of raising.

    Raises:
        PWMError: Minari or a dataset is missing, a space is not supported, or the data do not match it.
    """
    datasets = [_Dataset(task, source, download, action_repeat) for task, source in sources.items()]
    ids = [dataset.task for dataset in datasets]
    for task in ids:
        if ids.count(task) > 1:
            raise PWMError(f"task {task}: named by two datasets; give each a task of its own with --tasks")
    check_space(out, sum(dataset.size for dataset in datasets))
    skipped = 0
    with StoreWriter(out) as writer, progress("Episodes", sum(d.storage.total_episodes for d in datasets)) as bar:
        for dataset in datasets:
            noted = dataset.noted
            sizes = (*dataset.widths, noted.episode_length, noted.action_repeat)
            writer.add_task(dataset.task, *sizes, noted.source, noted.origins)
            for number, episode in dataset.read():
                try:
                    writer.add_episode(dataset.task, **{"quality": quality} | episode)
                except WrongEpisode as error:
                    if not skip_damaged:
                        raise PWMError(f"{dataset.name}, episode {number} ({error}), or add --skip-damaged") from error
                    skipped += 1
                bar.advance()
    return skipped


def task_of(source: str) -> str:
    """A task id made from the name of a dataset or of its folder: `D4RL/door/human-v2` -> `door-human`."""
    path = Path(source)
    parts = [part for part in (path.parent if path.name == "data" else path).parts if part not in ("/", ".", "..")]
    name = re.sub(r"-v\d+$", "", parts[-1]) if parts else ""
    if len(parts) > 1 and name in ("simple", "medium", "expert", "human", "cloned", "random"):
        name = f"{parts[-2]}-{name}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


@dataclass(frozen=True)
class Noted:
    """What `export_minari` records in the metadata."""

    task: str
    episode_length: int
    action_repeat: int
    source: str | None = None
    origins: tuple[Origin, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class _Flat:
    """Flattens values of a space: [T, ...], possibly nested -> float array [T, width]."""

    width: int
    rows: Callable[[Any], np.ndarray]


class _Dataset:
    """One open Minari dataset."""

    def __init__(self, task: str, source: str, download: bool, action_repeat: int | None) -> None:
        self.name = source
        folder = _folder(source, download)
        try:
            metadata = parse_json(read_bytes(folder / "metadata.json"), folder / "metadata.json")
            # Without them Minari would build the environment, and so execute code that the file names.
            missing = [name for name in ("observation_space", "action_space") if name not in metadata]
            if missing:
                raise PWMError(f"{source}: its metadata have no {missing[0]}; write it again with a current Minari")
            self.storage = minari_module().dataset.minari_storage.MinariStorage.read(folder)
            about = self.storage.get_episode_metadata(range(self.storage.total_episodes))
            lengths = [int(facts["total_steps"]) for facts in about]
        except PWMError:
            raise
        except Exception as error:  # each storage has its own
            raise _unreadable(source, error) from error
        if not lengths or min(lengths) < 1:
            raise PWMError(f"{source}: holds no episode, or one without steps")
        self.observation = _flatten(self.storage.observation_space, f"{source}: observation space")
        self.action = _rescale(self.storage.action_space, f"{source}: action space")
        self.noted = _noted(metadata, task.removeprefix("?"), source, max(lengths), action_repeat)
        self.task = self.noted.task if task.startswith("?") else task
        self.widths = (self.observation.width, self.action.width)
        self.size = (sum(lengths) + len(lengths)) * (sum(self.widths) + 2) * 4  # of the store, in bytes

    def read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, arguments of `StoreWriter.add_episode`) for each episode."""
        total = self.storage.total_episodes
        for first in range(0, total, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, total))
            try:
                about = list(self.storage.get_episode_metadata(numbers))
                episodes = iter(self.storage.get_episodes(numbers))
                for number, facts in zip(numbers, about, strict=True):
                    found = next(episodes)
                    tag = facts.get("quality")
                    episode = {
                        "observations": self.observation.rows(found["observations"]),
                        "actions": self.action.rows(found["actions"]),
                        "rewards": np.asarray(found["rewards"]),
                        "terminations": np.asarray(found["terminations"], bool),
                    }
                    yield number, episode | ({"quality": str(tag)} if tag else {})
            except PWMError:
                raise
            except Exception as error:
                raise _unreadable(self.name, error) from error


def _folder(source: str, download: bool) -> Path:
    """The folder with the dataset's metadata.json."""
    for folder in (Path(source) / "data", Path(source)):
        if (folder / "metadata.json").is_file():
            return folder
    if Path(source).exists():
        raise PWMError(f"{source}: holds no Minari dataset (no metadata.json); name the folder of one dataset")
    minari = minari_module()
    try:
        # Not by load_dataset, which may build the environment named in the metadata.
        folder = Path(minari.storage.get_dataset_path(source)) / "data"
        if download and not folder.exists():
            minari.download_dataset(source)
    except Exception as error:
        raise PWMError(f"{source}: cannot be fetched ({error}); check the name and the network") from error
    if not (folder / "metadata.json").is_file():
        raise PWMError(f"{source}: no such folder, nor a local Minari dataset; check it, or add --download to fetch it")
    return folder


def _noted(metadata: dict, task: str, source: str, longest: int, action_repeat: int | None) -> Noted:
    found = metadata.get(OURS)
    if found is not None:
        noted = from_dict(Noted, found, f"{source}: metadata {OURS}")
        if noted.episode_length < longest:
            raise PWMError(f"{source}: an episode has {longest} steps, its metadata say {noted.episode_length} at most")
        return noted
    words = f"Minari dataset {metadata.get('dataset_id', source)}"
    return Noted(task, longest, action_repeat or 1, words)


def _flatten(space: gymnasium.Space, where: str) -> _Flat:
    """Flattens Box spaces, and Dict and Tuple spaces of them in order."""
    from gymnasium import spaces

    if isinstance(space, spaces.Box):
        if len(space.shape) > 2 or not (space.dtype is not None and space.dtype.kind in "fiu"):
            found = f"{list(space.shape)} {space.dtype}"
            raise PWMError(f"{where}: {found} looks like images; only vectors can be imported")
        width = int(np.prod(space.shape))
        return _Flat(width, lambda values: np.asarray(values, np.float32).reshape(len(values), width))
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        parts = {key: _flatten(part, f"{where}, part {key}") for key, part in named}
        width = sum(part.width for part in parts.values())
        return _Flat(width, lambda v: np.concatenate([part.rows(v[key]) for key, part in parts.items()], axis=1))
    raise PWMError(f"{where}: is {type(space).__name__}; need Box, or Dict or Tuple of Box")


def _rescale(space: gymnasium.Space, where: str) -> _Flat:
    """Rescales a bounded Box to [-1, 1]; one that has these bounds already keeps its bits."""
    from gymnasium import spaces

    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.dtype is None or space.dtype.kind != "f":
        raise PWMError(f"{where}: is {space}; need a vector of real numbers (Box)")
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise PWMError(f"{where}: has no bounds to rescale from; need a Box with finite low < high")
    if (low == -1).all() and (high == 1).all():
        return _Flat(len(low), lambda values: np.asarray(values, np.float32))
    return _Flat(len(low), lambda values: (np.asarray(values, np.float64) - low) * (2 / (high - low)) - 1)


def _unreadable(source: str, error: Exception) -> PWMError:
    text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return PWMError(f"{source}: not a readable Minari dataset ({text}); copy it again, or check its version")
