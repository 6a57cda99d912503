"""An episode store as Minari datasets, one per task: unpadded, T actions for T + 1 observations."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pwm.data.manifest import TaskEntry
from pwm.data.minari_import import OURS, Noted, minari_module
from pwm.data.store import EpisodeStore
from pwm.data.writer import check_space
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json
from pwm.runtime.progress import Progress, progress


def export_minari(store: EpisodeStore, root: PathLike, namespace: str = "pwm") -> dict[str, list[str]]:
    """Write `root/<namespace>/<task>-v0` for each task; set MINARI_DATASETS_PATH to `root` to load them by name.

    A dataset appears only once it is complete. One that was exported from the same store before is skipped, so calling
    this again resumes. Returns the names that were "written" and "skipped".

    Raises:
        PWMError: Minari is not installed, another dataset of that name exists, or the disk cannot be written to.
    """
    minari_module()
    root = Path(root).absolute()  # Minari computes wrong sizes for relative paths
    if not re.fullmatch(r"[-_\w]+(/[-_\w]+)*", namespace):
        raise PWMError(f"namespace {namespace!r}: use letters, digits, '_' and '-', parts divided by '/'")
    entries = {entry.id: entry for entry in store.manifest.tasks}
    names = {task: f"{namespace}/{re.sub(r'[^-_0-9A-Za-z]', '_', task)}-v0" for task in store.tasks}
    if len(set(names.values())) < len(names):
        raise PWMError(f"{store.path}: two task ids differ only in characters that Minari does not allow; rename one")
    fingerprint = store.fingerprint()
    done = {name: _exported(root / name, fingerprint) for name in names.values()}
    todo = [task for task, name in names.items() if not done[name]]
    check_space(root, sum(store[task].observations.nbytes + store[task].actions.nbytes for task in todo))
    with progress("Episodes", sum(len(store[task].lengths) for task in todo)) as bar:
        for task in todo:
            try:
                _write(store, entries[task], root / names[task], names[task], fingerprint, bar)
            except OSError as error:
                reason = error.strerror or error
                raise PWMError(f"{root}: cannot write ({reason}); check its permissions and free space") from error
    return {"written": [names[task] for task in todo], "skipped": [name for name, before in done.items() if before]}


def _exported(folder: Path, fingerprint: str) -> bool:
    """Whether the dataset exists already and comes from the same store. Raises PWMError if it comes from another."""
    if not folder.exists():
        return False
    path = folder / "data" / "metadata.json"
    about = read_json(path) if path.is_file() else {}
    found = about.get(OURS) if isinstance(about, dict) else None
    if not isinstance(found, dict) or found.get("fingerprint") != fingerprint:
        raise PWMError(f"{folder}: already exists, from other data; choose another --out or --namespace, or remove it")
    return True


def _write(store: EpisodeStore, entry: TaskEntry, target: Path, name: str, fingerprint: str, bar: Progress) -> None:
    import gymnasium
    import minari
    from minari.dataset.minari_storage import MinariStorage

    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    box = gymnasium.spaces.Box
    try:
        temporary.mkdir(parents=True)
        storage = MinariStorage.new(
            temporary / "data",
            box(-np.inf, np.inf, (entry.observation_dim,), np.float32),
            box(-1.0, 1.0, (entry.action_dim,), np.float32),
            data_format="hdf5",
        )
        noted = Noted(entry.id, entry.episode_length, entry.action_repeat, entry.source, entry.origins, fingerprint)
        about = {"dataset_id": name, "minari_version": minari.__version__, "description": entry.source or entry.id}
        storage.update_metadata(about | {OURS: to_dict(noted)})
        storage.update_episodes(_buffers(store, entry.id, bar))
        tags = store.quality(entry.id)
        if tags.any():
            storage.update_episode_metadata({"quality": str(tag)} for tag in tags)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _buffers(store: EpisodeStore, task: str, bar: Progress) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    data = store[task]
    for e in range(len(data.lengths)):
        arrays = {name: np.array(rows) for name, rows in data.episode(e)._asdict().items()}
        truncations = np.zeros_like(arrays["terminations"])
        truncations[-1] = not arrays["terminations"][-1]
        yield EpisodeBuffer(**arrays, truncations=truncations)
        bar.advance()
