"""The interface of policies that are loaded from files, and the table of modules that load them.

Independent of how policies are trained. The header of a file gives its kind; `KINDS` maps it to the module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pwm.runtime.checkpoint import described, read_described
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike

ROWS = 16
"""Number of observations that `act_together` always passes to a policy at once."""
KINDS = {
    "policy": "pwm.agents.pwm.deployed",
    "planned policy": "pwm.agents.pwm.planned",
    "baseline policy": "pwm.agents.perceptron_policy",
}
"""Kind of a policy file -> the module whose `load(tensors, description, path, device)` builds the policy.

Errors of `load` other than PWMError are reported as a damaged description.
"""


class DeployedPolicy(Protocol):
    """The interface of every policy that is loaded from a file."""

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

        Rows are independent, and there is no state: the same array gives the same actions.
        """
        ...


def load_policy(path: PathLike, device: torch.device | str = "cpu") -> DeployedPolicy:
    """Load a policy file of any kind in `KINDS`. Raises PWMError if it is missing, damaged or of an unknown kind."""
    tensors, about = read_described(path, tuple(KINDS), device)
    load = importlib.import_module(KINDS[about["kind"]]).load
    with described(path):
        return load(tensors, about, path, device)


def policy_path(run: PathLike, task: str, seed: int) -> Path:
    """Path of the policy of a task and seed in a run folder."""
    return Path(run) / "policies" / task / f"seed{seed}.safetensors"


def find_policies(run: PathLike) -> list[Path]:
    """The policy files of a run folder, by task and seed. Raises PWMError if there are none."""
    found = sorted((Path(run) / "policies").glob("*/seed*.safetensors"), key=lambda p: (p.parent.name, int(p.stem[4:])))
    if not found:
        raise PWMError(f"{run}: no policies in this run; run `pwm learn --world-model {run} --task NAME` first")
    return found


def check_free(files: Sequence[Path]) -> None:
    """Raise PWMError if one of these policy files exists, as from another fleet of the same run."""
    for file in files:
        if file.exists():
            raise PWMError(f"{file}: was learned in another fleet; use another --out, or remove the file")


def padded_observations(policy: DeployedPolicy, observation: np.ndarray | Tensor, width: int) -> Tensor:
    """One observation [o] or many [..., o] of a policy's task as [1, rows, width] on the CPU, zero-padded at the end.

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
    """One function that acts for N policies: padded observations [N, E, O] to padded actions [N, E, A].

    O and A are the maxima over the policies' tasks. The E columns are episodes `first`, `first + 1`, ... of a longer
    list. A policy always sees blocks of exactly ROWS episodes, episode e in row e % ROWS, with zeros for episodes that
    are not among the E. Matrix products round differently in other shapes and rows; this way an episode's actions have
    the same bits whatever other episodes run in parallel.
    """
    wide = max(policy.action_dim for policy in policies)
    lead = first % ROWS

    def act(observations: np.ndarray) -> np.ndarray:
        members, episodes = observations.shape[:2]
        actions = np.zeros((members, episodes, wide), np.float32)
        for k, policy in enumerate(policies):
            for block in range(0, lead + episodes, ROWS):
                begin, end = max(block, lead), min(block + ROWS, lead + episodes)
                rows = torch.zeros(ROWS, policy.observation_dim).numpy()  # aligned, which NumPy does not guarantee
                rows[begin - block : end - block] = observations[k, begin - lead : end - lead, : rows.shape[1]]
                own = policy.act(rows)[begin - block : end - block]
                actions[k, begin - lead : end - lead, : policy.action_dim] = own
        return actions

    return act
