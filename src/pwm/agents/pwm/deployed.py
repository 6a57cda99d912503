"""The policy file of a learned policy: encoder and actor of one task, which act without data or world model.

See `acting/policy_file.py` for what all kinds of policy files share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pwm.acting.policy_file import padded_observations
from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.learner import FleetLearner
from pwm.nn.perceptron import ConditionedMLP, SharedWeights
from pwm.runtime.checkpoint import load_module, module_tensors, write_described
from pwm.runtime.config import from_dict, to_dict
from pwm.runtime.files import PathLike
from pwm.world_model.config import WorldModelConfig

_KIND = "policy"


class Policy(nn.Module):
    """A deployed policy: observation in, action out.

    Attributes:
        task, seed: of its training.
        observation_dim, action_dim: sizes of the task, without padding.
        about: the description in the file (settings of model and learning, number of updates).
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

    def _shared(self) -> tuple[SharedWeights, SharedWeights]:
        """The prepared weights of both networks, cached until a weight changes."""
        self._weights = self._weights or tuple(self.parameters())  # walking the modules takes as long as an action
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
        """For copies and pickles: without the caches."""
        return self.__dict__ | {"_ready": None, "_weights": ()}

    def save(self, path: PathLike) -> None:
        """Write the policy to one safetensors file, atomically."""
        write_described(path, module_tensors(self, "policy"), self.about)


def load(tensors: dict[str, Tensor], about: dict[str, Any], path: PathLike, device: torch.device | str) -> Policy:
    policy = Policy(about)
    load_module(policy, "policy", tensors, path)
    return policy.to(device)


@torch.no_grad()
def export_policies(learner: FleetLearner) -> list[Policy]:
    """One deployable policy per member of a fleet, with the averaged actor if there is one."""
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
        for own, fleet in zip(policy.actor.parameters(), learner.averaged_actor.parameters(), strict=True):
            own.copy_(fleet[k : k + 1])
        policy.context.copy_(learner.bound.contexts["encoder"][k, 0])
        policy.scale.copy_(learner.bound.observation_scale[k, 0])
        policy.shift.copy_(learner.bound.observation_shift[k, 0])
        policies.append(policy)
    return policies
