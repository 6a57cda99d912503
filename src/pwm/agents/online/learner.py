"""What learns on line: one world model in training and a fleet of policies in it, over a store that grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.functional import pad

from pwm.agents.online.config import OnlineConfig
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learner import FleetLearner
from pwm.data.growing import GrowingStore
from pwm.data.sampler import SliceBatch, SliceSampler
from pwm.data.store import EpisodeStore
from pwm.runtime.checkpoint import described, read_described, write_described
from pwm.runtime.files import PathLike
from pwm.world_model.config import PretrainConfig
from pwm.world_model.extend import adopt
from pwm.world_model.loss import world_model_loss
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import Pretrainer

KIND = "online checkpoint"


class OnlineLearner:
    """Model and fleet, which learn from what the store holds; acting is the business of whoever calls `learn`.

    Args:
        model: the world model; its normalisation is set, its weights go on learning.
        store: the episodes so far.
        members: (task, seed) of each policy.
        config, training, learning: settings of rounds, world model and policies.
        seed: of the model's batches.
        device: where everything lives.
    """

    def __init__(
        self,
        model: WorldModel,
        store: GrowingStore,
        members: Sequence[tuple[str, int]],
        config: OnlineConfig,
        training: PretrainConfig,
        learning: PolicyConfig,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.store, self.config, self.training, self.seed, self.device = store, config, training, seed, device
        self.model, episodes = model, store.upto()
        self.trainer = Pretrainer(model.to(device), self._slices(episodes), world_model_loss, training)
        model.requires_grad_(False)
        self.fleet = FleetLearner(model, episodes, *zip(*members, strict=True), learning, device)

    def adopt(self, task: str) -> str:
        """Start the embedding of a task that is new to the model; see `world_model.extend.adopt`."""
        model = self.trainer.model
        known = adopt(model, task, self.trainer.sampler(0))
        self.fleet.refresh()
        return known

    def learn(self, model_updates: int, policy_updates: int, on_update: Callable[[], None]) -> dict[str, torch.Tensor]:
        """Train the model, then the policies in it, on all episodes so far; returns the last update's metrics.

        Args:
            on_update: called after each update, for progress.
        """
        episodes = self.store.upto()
        self.trainer.sampler = self._slices(episodes)
        self.trainer.model.requires_grad_(True)
        losses: dict[str, torch.Tensor] = {}
        for _ in range(model_updates):
            losses = self.trainer.update()
            on_update()
        self.trainer.model.requires_grad_(False)
        self.fleet.refresh(episodes, {task: self._weights(episodes, task) for task in episodes.tasks})
        metrics: dict[str, torch.Tensor] = {}
        for _ in range(policy_updates):
            metrics = self.fleet.update()
            on_update()
        return metrics | {f"model_{name}": value for name, value in losses.items()}

    def save(self, path: PathLike, about: dict) -> None:
        """Write model, fleet and both optimisers, atomically, with a description of how far they are."""
        write_described(path, self.trainer.tensors() | self.fleet.tensors(), {"kind": KIND} | about | self._counts())

    def load(self, path: PathLike) -> dict:
        """Continue from a checkpoint; returns its description. Raises PWMError where it does not fit."""
        tensors, about = read_described(path, KIND)
        with described(path):
            self.trainer.restore(tensors, about["model_updates"], path)
            self.fleet.restore(tensors, about["policy_updates"], path)
        self.fleet.refresh()
        return about

    def _counts(self) -> dict[str, int]:
        return {"model_updates": self.trainer.updates, "policy_updates": self.fleet.updates}

    def _slices(self, episodes: EpisodeStore) -> Callable[[int], SliceBatch]:
        """Update number -> slices of all episodes, and a share of the newest ones alone, as the model wants them."""
        config, training, model = self.config, self.training, self.model
        recent = round(config.recent_share * training.batch_size)
        newest = {t: np.arange(len(episodes[t].lengths))[-config.recent_episodes :] for t in episodes.tasks}
        parts = [
            SliceSampler(episodes, training.horizon, size, seed, self.device, chosen, training.early_starts)
            for size, seed, chosen in ((training.batch_size - recent, self.seed, None), (recent, self.seed + 1, newest))
            if size
        ]
        rows = torch.tensor([model.index(task) for task in episodes.tasks], device=self.device)
        wider = {"observations": model.observation_dim - episodes.observation_dim}
        wider["actions"] = model.action_dim - episodes.action_dim

        def sample(step: int) -> SliceBatch:
            *fields, tasks = zip(*(part.sample(step) for part in parts), strict=True)
            batch = SliceBatch(*(torch.cat(field, dim=1) for field in fields), rows[torch.cat(tasks)])
            return batch._replace(**{name: pad(getattr(batch, name), (0, n)) for name, n in wider.items() if n})

        return sample

    def _weights(self, episodes: EpisodeStore, task: str) -> np.ndarray:
        """How often start states come from each episode of a task, [episodes]: newest ones more often."""
        config, count = self.config, len(episodes[task].lengths)
        weights = np.full(count, (1.0 - config.recent_share) / count)
        weights[-config.recent_episodes :] += config.recent_share / min(config.recent_episodes, count)
        return weights
