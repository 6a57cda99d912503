"""Other recordings into an episode store."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike


def store_from_npz(
    files: Mapping[str, PathLike], out: PathLike, action_repeat: int = 2, source: str | None = None
) -> None:
    """Write the store `out` from one .npz file per task, in the row order of TD-MPC2's data.

    Each file holds `obs` [E, T+1, o], `action` [E, T+1, a] and `reward` [E, T+1]; row t holds the observation at step t
    and the action and reward that LED to it, so row 0 of action and reward is filler and is dropped. All episodes count
    as truncated after T steps. `source` is noted in the manifest with every task.

    Raises:
        PWMError: a file is missing or damaged, lacks a field, or holds arrays that do not fit together.
    """
    with StoreWriter(out) as writer:
        for task, path in files.items():
            observations, actions, rewards = _read(path)
            width = (observations.shape[-1], actions.shape[-1])
            writer.add_task(task, *width, rewards.shape[1] - 1, action_repeat, source)
            for o, a, r in zip(observations, actions, rewards, strict=True):
                writer.add_episode(task, o, a[1:], r[1:])


def _read(path: PathLike) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = [data[name] for name in ("obs", "action", "reward")]
    except KeyError as error:
        raise PWMError(f"{path}: {error.args[0]}; the file needs obs, action and reward") from error
    except Exception as error:  # zipfile, zlib and NumPy each have their own for a damaged file
        raise PWMError(f"{path}: not a readable .npz file ({error}); check the path or make the file again") from error
    observations, actions, rewards = arrays
    if [array.ndim for array in arrays] != [3, 3, 2] or not observations.shape[:2] == actions.shape[
        :2
    ] == rewards.shape:
        shapes = ", ".join(str(list(array.shape)) for array in arrays)
        raise PWMError(f"{path}: obs, action, reward are {shapes}; need [E, T+1, o], [E, T+1, a], [E, T+1]")
    return arrays
