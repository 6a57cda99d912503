"""The contract of a policy file: what every policy that was loaded from one can do, and who reads which kind.

Nothing in here knows how a policy is trained. The kind stands in the file's header; `KINDS` says which module reads it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pwm.runtime.checkpoint import read_described
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike

ROWS = 16
"""Observations that `act_together` hands to a policy at once, always."""
KINDS = {
    "policy": "pwm.agents.pwm.deployed",
    "planned policy": "pwm.agents.pwm.planned",
    "baseline policy": "pwm.agents.perceptron_policy",
}
"""Kind of a policy file -> the module whose `load(tensors, description, path, device)` makes a policy of it.

KeyError, TypeError and ValueError out of `load` count as a damaged description.
"""


class DeployedPolicy(Protocol):
    """What every policy that was loaded from a file offers, whoever trained it."""

    task: str
    """Id of the task that it acts in."""
    seed: int
    """Seed that it was trained with."""
    observation_dim: int
    """Width of the task's observations."""
    action_dim: int
    """Number of the task's actions."""
    about: dict[str, Any]
    """The description in the file's header: "kind", "task", "seed", sizes, settings, and "updates" where known."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Deterministic actions float32 [..., action_dim] in [-1, 1] for observations [..., observation_dim].

        Rows are independent, and calling has no effect: the same array gives the same actions.
        """
        ...


def load_policy(path: PathLike, device: torch.device | str = "cpu") -> DeployedPolicy:
    """Read a policy file of any kind in `KINDS`. Raises PWMError when it is missing, damaged or of no such kind."""
    tensors, about = read_described(path, tuple(KINDS), device)
    try:
        return importlib.import_module(KINDS[about["kind"]]).load(tensors, about, path, device)
    except (KeyError, TypeError, ValueError) as error:
        raise PWMError(f"{path}: its description is incomplete ({error}); the file is damaged") from error


def policy_path(run: PathLike, task: str, seed: int) -> Path:
    """Where a run folder keeps the policy of a task and seed."""
    return Path(run) / "policies" / task / f"seed{seed}.safetensors"


def find_policies(run: PathLike) -> list[Path]:
    """The policy files of a run folder, by task and seed; raises PWMError when there is none."""
    found = sorted((Path(run) / "policies").glob("*/seed*.safetensors"), key=lambda p: (p.parent.name, int(p.stem[4:])))
    if not found:
        raise PWMError(f"{run}: no policies in this run; run `pwm learn --world-model {run} --task NAME` first")
    return found


def check_free(files: Sequence[Path]) -> None:
    """Raise PWMError where one of these policy files exists: another fleet of the same run left it there."""
    for file in files:
        if file.exists():
            raise PWMError(f"{file}: was learned in another fleet; use another --out, or remove the file")


def padded_observations(policy: DeployedPolicy, observation: np.ndarray | Tensor, width: int) -> Tensor:
    """One observation [o] or many [..., o] of a policy's task as [1, rows, width] on the CPU, zeros at their ends.

    Raises:
        PWMError: the last axis is not the task's observation width, or an entry is not finite.
    """
    x = np.asarray(observation, np.float32)
    if x.ndim == 0 or x.shape[-1] != policy.observation_dim:
        raise PWMError(f"{policy.task}: observations have width {policy.observation_dim}, got shape {list(x.shape)}")
    if not np.isfinite(x).all():
        raise PWMError(f"{policy.task}: the observation has entries that are not finite")
    padded = torch.zeros(1, x.size // policy.observation_dim, width)
    padded[0, :, : policy.observation_dim] = torch.from_numpy(x.reshape(padded.shape[1], -1))
    return padded


def act_together(policies: Sequence[DeployedPolicy], first: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """One function that acts for many policies: padded observations [N, E, O] to padded actions [N, E, A].

    O and A are the widest of the policies' own task sizes. The E rows are episodes `first`, `first + 1`, ... of a
    longer list. A policy always sees blocks of exactly ROWS episodes, episode e in row e % ROWS, and zeros where an
    episode is not among the E: a matrix product rounds differently in another shape or row, and so an episode's actions
    have the same bits whatever runs beside it.
    """
    wide = max(policy.action_dim for policy in policies)
    lead = first % ROWS

    def act(observations: np.ndarray) -> np.ndarray:
        members, episodes = observations.shape[:2]
        actions = np.zeros((members, episodes, wide), np.float32)
        for k, policy in enumerate(policies):
            for block in range(0, lead + episodes, ROWS):
                begin, end = max(block, lead), min(block + ROWS, lead + episodes)
                rows = torch.zeros(ROWS, policy.observation_dim).numpy()  # torch aligns its memory, numpy may not
                rows[begin - block : end - block] = observations[k, begin - lead : end - lead, : rows.shape[1]]
                own = policy.act(rows)[begin - block : end - block]
                actions[k, begin - lead : end - lead, : policy.action_dim] = own
        return actions

    return act
