"""Actors and critics of an earlier run, as the start of a new fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime.checkpoint import described, peek_description, read_described
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike

Weights = dict[str, Tensor]
"""One member's "saved_actor.*" and "critic.*", each with a leading axis of length 1 (of the critics in an ensemble)."""
_KINDS = ("policy checkpoint", "online checkpoint")
_PARTS = {"saved_actor": ("actor", "averaged_actor"), "critic": ("critic", "target_critic")}


def trained_members(run: PathLike) -> tuple[dict[tuple[str, int], Weights], dict[str, Any]]:
    """The actors and critics of a run by (task, seed), and the policy settings they were trained with.

    Both are empty where a run has no policies of its own, as an imported world model has none.

    Raises:
        PWMError: a checkpoint is damaged.
    """
    folder, found, settings = Path(run), {}, {}
    for path in [*sorted((folder / "policies").glob("fleet-*.safetensors")), folder / "online.safetensors"]:
        if not peek_description(path):
            continue
        tensors, about = read_described(path, _KINDS)
        with described(path):
            online = about["kind"] == _KINDS[1]
            members = about["members"]["policies"] if online else about["members"]
            settings = about["learning" if online else "policy"]
            for k, (task, seed) in enumerate(members):
                found[task, seed] = {
                    name: x.view(len(members), -1, *x.shape[1:])[k].clone()
                    for name, x in tensors.items()
                    if name.split(".")[0] in _PARTS
                }
    return found, settings


@torch.no_grad()
def start_from(learner: FleetLearner, member: int, weights: Weights) -> None:
    """Let one member of a new fleet begin with the actor and critics of an earlier one.

    Where the world model has become wider in actions, the new entries stay as they were initialised.

    Raises:
        PWMError: the networks have other layers.
    """
    for source, targets in _PARTS.items():
        for target in targets:
            for name, own in getattr(learner, target).state_dict().items():
                new, old = own.view(learner.members, -1, *own.shape[1:])[member], weights[f"{source}.{name}"]
                if new.ndim != old.ndim or any(a < b for a, b in zip(new.shape, old.shape)):
                    raise PWMError(
                        f"{learner.tasks[member]}: the policy to start from has {name} of {list(old.shape)}, this one "
                        f"{list(new.shape)}; use the same actor_units, critic_units and critics"
                    )
                new[tuple(slice(size) for size in old.shape)] = old
