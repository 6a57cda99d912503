"""Saves all episodes played in training as an episode store, which gives data of mixed quality."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pwm.data.manifest import MANIFEST
from pwm.data.writer import StoreWriter
from pwm.runtime.checkpoint import read_described, write_described
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike

QUALITIES = ("early", "middle", "late")
_KIND = "replay part"
_FIELDS = ("observations", "actions", "rewards", "terminations")


class ReplayRecorder:
    """Cuts the steps of n environments into episodes and writes them to part files, one per checkpoint.

    The parts are joined to a store when training ends. Episodes that are unfinished then are left out.

    Args:
        folder: of the parts; created if it is missing.
        num_envs: n.
        updates: the update number that training resumes from; parts recorded after it are dropped.

    Raises:
        PWMError: training resumes from an update that was not recorded.
    """

    def __init__(self, folder: PathLike, num_envs: int, updates: int = 0) -> None:
        self.folder = Path(folder)
        self.starts = [0] * num_envs
        """step, counted from the first of `steps`, at which each unfinished episode began"""
        self.steps: dict[str, Tensor] = {}
        """the last steps of all environments, [T, n, ...] by field"""
        self.finished: list[dict[str, Tensor]] = []
        for path in self._files("part"):
            if _number(path) > updates:
                path.unlink()
        if updates:
            self._load(updates)

    def add(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        final_observations: Tensor,
        terminated: Tensor,
        truncated: Tensor,
    ) -> None:
        """Add H steps, the fields of a rollout: [H, n, ...] each, detached."""
        new = {"observations": observations, "actions": actions, "rewards": rewards}
        new |= {"final_observations": final_observations, "terminations": terminated}
        before = len(self.steps["rewards"]) if self.steps else 0
        new = {name: value.cpu() for name, value in new.items()}
        self.steps = {name: torch.cat((self.steps[name], value)) if before else value for name, value in new.items()}
        for step, row in (terminated | truncated).cpu().nonzero().tolist():
            self._finish(row, before + step + 1)
        done = min(self.starts)
        self.steps = {name: value[done:] for name, value in self.steps.items()}
        self.starts = [start - done for start in self.starts]

    def save(self, updates: int) -> None:
        """Write finished and unfinished episodes at `updates`; call this just before writing the checkpoint."""
        fields = {name: [episode[name] for episode in self.finished] for name in _FIELDS}
        tensors = {name: torch.cat(parts) for name, parts in fields.items() if parts}
        tensors["lengths"] = torch.tensor([len(episode["rewards"]) for episode in self.finished], dtype=torch.int64)
        write_described(self._path("part", updates), tensors, {"kind": _KIND})
        pending = self.steps | {"starts": torch.tensor(self.starts)}
        write_described(self._path("pending", updates), pending, {"kind": _KIND})
        self.finished = []

    def forget(self, updates: int) -> None:
        """Remove unfinished episodes of earlier checkpoints; call this once the checkpoint at `updates` is on disk."""
        for path in self._files("pending"):
            if _number(path) != updates:
                path.unlink()

    def write_store(self, path: PathLike, task: str, episode_length: int, source: str, updates: int) -> int:
        """Join all parts to the episode store `path` and remove them; returns the number of episodes.

        An episode's quality tag is the third of training in which it ended (by checkpoint): "early", "middle", "late".

        Raises:
            PWMError: no episode has finished, `path` holds a store, or the disk cannot be written to.
        """
        count = 0
        with StoreWriter(path) as writer:
            for part in self._files("part"):
                tensors, _ = read_described(part, _KIND)
                quality = QUALITIES[min(3 * (_number(part) - 1) // updates, 2)]
                observation_end = end = 0
                for length in tensors["lengths"].tolist():
                    if not count:
                        sizes = (tensors["observations"].shape[1], tensors["actions"].shape[1])
                        writer.add_task(task, *sizes, episode_length, 1, source)
                    rows = slice(end, end + length)
                    seen = slice(observation_end, observation_end + length + 1)
                    arrays = [tensors["observations"][seen], *(tensors[name][rows] for name in _FIELDS[1:])]
                    writer.add_episode(task, *(array.numpy() for array in arrays), quality=quality)
                    observation_end, end, count = seen.stop, rows.stop, count + 1
        for path in (*self._files("part"), *self._files("pending")):
            path.unlink()
        self.folder.rmdir()
        return count

    def _finish(self, row: int, end: int) -> None:
        """The episode of `row` ended before step `end`."""
        steps, own = self.steps, slice(self.starts[row], end)
        observations = torch.cat((steps["observations"][own, row], steps["final_observations"][end - 1 : end, row]))
        episode = {name: steps[name][own, row].clone() for name in _FIELDS[1:]}
        self.finished.append({"observations": observations} | episode)
        self.starts[row] = end

    def _load(self, updates: int) -> None:
        path = self._path("pending", updates)
        if not path.exists():
            raise PWMError(f"{self.folder}: update {updates} was not recorded; leave out --save-replay, or start anew")
        tensors, _ = read_described(path, _KIND)
        self.starts = tensors.pop("starts").tolist()
        self.steps = tensors

    def _path(self, name: str, updates: int) -> Path:
        return self.folder / f"{name}-{updates:08d}.safetensors"

    def _files(self, name: str) -> list[Path]:
        return sorted(self.folder.glob(f"{name}-*.safetensors"))


def has_store(path: PathLike) -> bool:
    """Whether `path` holds an episode store."""
    return (Path(path) / MANIFEST).exists()


def _number(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1])
