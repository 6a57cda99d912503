"""Which of the data's actions imitation prefers: those of good episodes, or those better than usual in their state."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pwm.agents.pwm.config import PolicyConfig
from pwm.data.lucky_starts import LUCKY, explained_by_start
from pwm.data.states import rank_weights
from pwm.data.store import EpisodeStore, TaskEpisodes
from pwm.world_model.model import WorldModel

_FOLDS = 5
_FITTED = 1 << 16  # transitions that the fit uses at most
_ROWS = 1 << 13  # encoded at once
_RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_LARGEST = 5.0  # no transition weighs more than e^5 average ones


def imitation_weights(model: WorldModel, store: EpisodeStore, task: str, config: PolicyConfig) -> np.ndarray:
    """How often imitation draws each episode [episodes], or each transition [transitions], of a task.

    `config.behaviour_by` says by what. "auto" takes the advantage where the start of an episode settles half of its
    return or more, since the best episodes are then lucky rather than good, and else the return.
    """
    by = config.behaviour_by
    if by == "auto":
        by = "advantage" if explained_by_start(store, task) >= LUCKY else "return"
    if by == "return":
        return rank_weights(store, task, config.behaviour_sharpness)
    found = advantages(model, store, task, config.gamma)
    scaled = 0.5 * config.behaviour_sharpness * found / max(float(found.std()), 1e-12)
    return np.exp(np.clip(scaled, None, _LARGEST))


@torch.no_grad()
def advantages(model: WorldModel, store: EpisodeStore, task: str, gamma: float) -> np.ndarray:
    """Discounted return to go minus a fitted value of the state, for each transition [transitions].

    As in advantage-weighted regression (Peng et al., 2019). The value is linear in the latent, the share of the episode
    that is over, and their products; each episode's values come from a fit to the other episodes, so that none explains
    its own luck.
    """
    data = store[task]
    returns = torch.from_numpy(returns_to_go(data, gamma))
    fold = torch.from_numpy(np.repeat(np.arange(len(data.lengths)), data.lengths) % _FOLDS)
    fits = _fits(model, data, returns, fold)
    values = torch.empty(len(fits), len(returns), dtype=torch.float64)
    for rows in _parts(np.arange(len(returns))):
        features = _features(model, data, rows)
        for k, fit in enumerate(fits):
            values[k, rows] = (features * fit[fold[rows].to(fit.device)]).sum(dim=1).cpu()
    errors = (returns - values).square().mean(dim=1)
    return (returns - values[int(errors.argmin())]).numpy()


def returns_to_go(data: TaskEpisodes, gamma: float) -> np.ndarray:
    """Discounted sum of the rewards from each transition to the end of its episode, float64 [transitions]."""
    out = np.asarray(data.rewards, np.float64).copy()
    for back in range(2, int(data.lengths.max()) + 1):
        rows = (data.offsets[1:] - back)[data.lengths >= back]
        out[rows] += gamma * out[rows + 1]
    return out


def _fits(model: WorldModel, data: TaskEpisodes, returns: Tensor, fold: Tensor) -> list[Tensor]:
    """For each strength of the ridge, the weights [folds, features] of fits that leave one fold out."""
    chosen = np.arange(0, len(returns), -(-len(returns) // _FITTED))
    width, device = 2 * model.config.latent_dim + 3, model.embedding.device
    squares = torch.zeros(_FOLDS, width, width, dtype=torch.float64, device=device)
    products = torch.zeros(_FOLDS, width, dtype=torch.float64, device=device)
    for rows in _parts(chosen):
        features, wanted, own = (x.to(device) for x in (_features(model, data, rows), returns[rows], fold[rows]))
        for k in range(_FOLDS):
            squares[k] += features[own == k].T @ features[own == k]
            products[k] += features[own == k].T @ wanted[own == k]
    squares, products = squares.sum(dim=0) - squares, products.sum(dim=0) - products
    eye = torch.eye(width, dtype=torch.float64, device=device)
    return [torch.linalg.solve(squares + ridge * len(chosen) * eye, products) for ridge in _RIDGES]


def _features(model: WorldModel, data: TaskEpisodes, rows: np.ndarray) -> Tensor:
    """What values are linear in [rows, 2 latent_dim + 3]: the latent z, z tau, tau, tau^2 and 1, where tau is time."""
    episode = np.searchsorted(data.offsets, rows, side="right") - 1
    observations = np.zeros((1, len(rows), model.observation_dim), np.float32)
    observations[0, :, : data.observation_dim] = data.observations[rows + episode]
    device = model.embedding.device
    latent = model.bind((data.id,)).encode(torch.from_numpy(observations).to(device))[0].double()
    tau = torch.from_numpy((rows - data.offsets[episode]) / data.episode_length).to(device).unsqueeze(1)
    return torch.cat((latent, latent * tau, tau, tau * tau, torch.ones_like(tau)), dim=1)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // _ROWS))
