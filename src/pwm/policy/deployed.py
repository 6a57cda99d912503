"""A policy as a file: encoder and actor of one task, ready to act without data, planner or world model.

What evaluates or ships a policy needs no more than `DeployedPolicy`. `load_policy` reads any kind of policy file: the
kind stands in the file's header, and `register_policy_kind` says who reads which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pwm.nn.fleet_mlp import SharedFleet
from pwm.nn.mlp import ConditionedMLP
from pwm.nn.products import SharedWeights
from pwm.policy.actor import FleetActor
from pwm.policy.config import PolicyConfig
from pwm.policy.learner import FleetLearner
from pwm.runtime.checkpoint import load_module, module_tensors, read_described, write_described
from pwm.runtime.config import from_dict, to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.world_model.config import WorldModelConfig

_KIND = "policy"
ROWS = 16
"""Observations that `act_together` hands to a policy at once, always."""


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


Loader = Callable[[dict[str, Tensor], dict[str, Any], PathLike, "torch.device | str"], DeployedPolicy]
"""(tensors, description, path, device) -> policy. KeyError, TypeError and ValueError count as a damaged description."""
_loaders: dict[str, Loader] = {}


def register_policy_kind(kind: str, loader: Loader) -> None:
    """Let `load_policy` read files whose description says `"kind": kind` (see `runtime.checkpoint.write_described`).

    Call it where the kind is defined, at import; the module must be imported before such a file is loaded. Rooms that
    come later in the house than `policy` are imported for this by `evaluation/evaluate.py`.
    """
    _loaders[kind] = loader


class Policy(nn.Module):
    """A deployed policy: observation in, action out.

    Attributes:
        task, seed: what it was learned for, and with which seed.
        observation_dim, action_dim: sizes of the task, without padding.
        about: the description saved with it (settings of model and learning, number of updates).
    """

    def __init__(self, about: dict) -> None:
        super().__init__()
        model = from_dict(WorldModelConfig, about["model"], "policy")
        config = from_dict(PolicyConfig, about["config"], "policy")
        self.about = about
        self.task: str = about["task"]
        self.seed: int = about["seed"]
        self.observation_dim: int = about["observation_dim"]
        self.action_dim: int = about["action_dim"]
        wide, actions = about["padded"]
        group = model.simnorm_group
        self.encoder = ConditionedMLP(wide, model.task_dim, model.encoder_units, model.latent_dim, group)
        self.actor = FleetActor(model.latent_dim, actions, config, [0])
        for name, width in (("context", model.encoder_units[0]), ("scale", wide), ("shift", wide)):
            self.register_buffer(name, torch.zeros(width))
        self._ready: tuple | None = None
        self._weights: tuple[Tensor, ...] = ()
        self.requires_grad_(False).eval()

    def act(self, observation: np.ndarray | Tensor) -> np.ndarray:
        """The action for one observation [o] or many [..., o]: float32 in [-1, 1], [a] or [..., a].

        Raises:
            PWMError: the last axis is not the task's observation width, or an entry is not finite.
        """
        padded = padded_observations(self, observation, len(self.scale))
        action = self.mean(padded.to(self.scale.device))[0, :, : self.action_dim]
        return action.cpu().numpy().reshape(*np.shape(observation)[:-1], self.action_dim)

    @torch.no_grad()
    def mean(self, padded: Tensor) -> Tensor:
        """Deterministic actions [1, rows, padded action width] for padded observations [1, rows, padded width]."""
        encoder, actor = self._shared()
        latent = self.encoder(torch.addcmul(-self.shift, padded, self.scale), self.context, encoder)
        return self.actor.mean(latent, actor)

    def _shared(self) -> tuple[SharedWeights, SharedFleet]:
        """What both networks make of their weights before they multiply; made again where a weight has changed."""
        self._weights = self._weights or tuple(self.parameters())  # to walk the modules takes as long as an action
        state = (self.scale.device, *((w.data_ptr(), w.dtype, w._version) for w in self._weights))
        if self._ready is None or self._ready[0] != state:
            self._ready = (state, self.encoder.share(), self.actor.net.share())
        return self._ready[1:]

    def _apply(self, *args: Any, **options: Any) -> Policy:
        self._ready, self._weights = None, ()
        return super()._apply(*args, **options)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """See `torch.nn.Module.load_state_dict`."""
        self._ready, self._weights = None, ()
        return super().load_state_dict(*args, **options)

    def __getstate__(self) -> dict:
        """For copies and pickles: what is kept for acting can be made again."""
        return self.__dict__ | {"_ready": None, "_weights": ()}

    def save(self, path: PathLike) -> None:
        """Write the policy to one safetensors file, atomically."""
        write_described(path, module_tensors(self, "policy"), self.about)


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


def _load(tensors: dict[str, Tensor], about: dict[str, Any], path: PathLike, device: torch.device | str) -> Policy:
    policy = Policy(about)
    load_module(policy, "policy", tensors, path)
    return policy.to(device)


register_policy_kind(_KIND, _load)


def load_policy(path: PathLike, device: torch.device | str = "cpu") -> DeployedPolicy:
    """Read a policy file of any registered kind. Raises PWMError when it is missing, damaged or of no such kind."""
    tensors, about = read_described(path, tuple(_loaders), device)
    try:
        return _loaders[about["kind"]](tensors, about, path, device)
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


@torch.no_grad()
def export_policies(learner: FleetLearner) -> list[Policy]:
    """One deployable policy per member of a fleet, with the parameters that the learner recommends."""
    model = learner.model
    policies = []
    for k, (task, seed) in enumerate(zip(learner.tasks, learner.seeds, strict=True)):
        row = model.index(task)
        policy = Policy(
            {
                "kind": _KIND,
                "task": task,
                "seed": seed,
                "observation_dim": model.observation_dims[row],
                "action_dim": model.action_dims[row],
                "padded": [model.observation_dim, model.action_dim],
                "model": to_dict(model.config),
                "config": to_dict(learner.config),
                "updates": learner.updates,
            }
        )
        policy.encoder.load_state_dict(model.encoder.state_dict())
        for own, fleet in zip(policy.actor.parameters(), learner.saved_actor.parameters(), strict=True):
            own.copy_(fleet[k : k + 1])
        policy.context.copy_(learner.context.encoder[k, 0])
        policy.scale.copy_(learner.context.observation_scale[k, 0])
        policy.shift.copy_(learner.context.observation_shift[k, 0])
        policies.append(policy)
    return policies


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
