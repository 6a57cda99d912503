"""The policy file of a policy with planning: world model, actor and critics of one task, and the planner's settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pwm.acting.policy_file import padded_observations
from pwm.agents.plan_config import PlanConfig
from pwm.agents.planner import PlanNoise, draw, plan
from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.agents.pwm.learner import CHECKPOINT_KIND
from pwm.runtime.checkpoint import described, digest, load_module, module_tensors, read_described, write_described
from pwm.runtime.config import from_dict, to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.random import key_of
from pwm.world_model.files import build, describe
from pwm.world_model.model import WorldModel

_KIND = "planned policy"
_ROWS = 16  # observations planned for at once, to bound memory


class PlannedPolicy(nn.Module):
    """A `DeployedPolicy` that acts by planning.

    Every call plans from scratch, without the previous plan, and with the same noise for every row: the action is a
    function of the observation.
    """

    def __init__(self, about: dict[str, Any], path: PathLike = "policy") -> None:
        super().__init__()
        self.about = about
        self.task: str = about["task"]
        self.seed: int = about["seed"]
        self.observation_dim: int = about["observation_dim"]
        self.action_dim: int = about["action_dim"]
        self.config = from_dict(PolicyConfig, about["config"], str(path))
        self.planning = from_dict(PlanConfig, about["plan"], str(path))
        self.model = build(about["world model"], path)
        width, actions = self.model.config.latent_dim, self.model.action_dim
        self.actor = FleetActor(width, actions, self.config, [0])
        self.critic = FleetCritic(width, self.config, [0])
        key = torch.tensor([key_of(self.seed, self.task, "plan")])
        for name, numbers in draw(key, 0, 1, actions, self.planning)._asdict().items():
            self.register_buffer(f"{name}_noise", numbers, persistent=False)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """The first action of a plan for one observation [o] or many [..., o]: float32 in [-1, 1], [a] or [..., a].

        Raises:
            PWMError: the last axis is not the task's observation width, or an entry is not finite.
        """
        rows = padded_observations(self, observation, self.model.observation_dim).to(self.policy_noise.device)
        bound, config = self.model.bind([self.task]).scaled(), self.config
        actions = []
        for part in rows.split(_ROWS, dim=1):
            latent, count = bound.encode(part), part.shape[1]
            noise = PlanNoise(
                self.policy_noise.expand(-1, -1, count, -1, -1),
                self.samples_noise.expand(-1, -1, -1, count, -1, -1),
            )
            learned = (config.gamma, config.reward_space, config.bootstrap_exponent)
            planned, _ = plan(bound, self.actor, self.critic.value, latent, None, noise, self.planning, *learned)
            actions.append(planned[0])
        out = torch.cat(actions)[:, : self.action_dim]
        return out.view(*np.shape(observation)[:-1], self.action_dim).cpu().numpy()

    def save(self, path: PathLike) -> None:
        """Write the policy to one safetensors file, atomically; it holds the whole world model."""
        write_described(path, module_tensors(self, "policy"), self.about)


def load(
    tensors: dict[str, Tensor], about: dict[str, Any], path: PathLike, device: torch.device | str
) -> PlannedPolicy:
    policy = PlannedPolicy(about, path)
    load_module(policy, "policy", tensors, path)
    return policy.to(device)


def planned_policies(run: PathLike, model: WorldModel, planning: PlanConfig) -> Iterator[PlannedPolicy]:
    """A planning policy for every policy of a run's fleets, from the fleets' checkpoints.

    Raises:
        PWMError: there is no fleet, one has not finished learning, or it learned in another world model.
    """
    checkpoints = sorted((Path(run) / "policies").glob("fleet-*.safetensors"))
    if not checkpoints:
        raise PWMError(f"{run}: no fleet in this run, whose critics planning needs; run `pwm learn` first")
    made_in = digest(model.state_dict())
    for path in checkpoints:
        tensors, about = read_described(path, CHECKPOINT_KIND)
        with described(path):
            yield from _fleet(path, tensors, about, model, made_in, planning)


def _fleet(
    path: Path,
    tensors: dict[str, Tensor],
    about: dict[str, Any],
    model: WorldModel,
    made_in: str,
    planning: PlanConfig,
) -> Iterator[PlannedPolicy]:
    """A planning policy for every member of one fleet's checkpoint."""
    if about["world model"] != made_in:
        raise PWMError(f"{path}: learned in another world model; name its own with --world-model")
    config = from_dict(PolicyConfig, about["policy"], str(path))
    if about["updates"] < config.total_updates:
        raise PWMError(f"{path}: has learned {about['updates']} of {config.total_updates} updates; finish it first")
    critics = "target_critic" if config.critic_average > 0.0 else "critic"
    count = len(about["members"])
    for member, (task, seed) in enumerate(about["members"]):
        policy = untrained(model, config, planning, task, seed, about["updates"])
        for part, name in ((policy.actor, "saved_actor."), (policy.critic, f"{critics}.")):
            stacked = {key.removeprefix(name): x for key, x in tensors.items() if key.startswith(name)}
            own = {f"own.{key}": x.view(count, -1, *x.shape[1:])[member] for key, x in stacked.items()}
            load_module(part, "own", own, path)
        yield policy


def untrained(
    model: WorldModel, config: PolicyConfig, planning: PlanConfig, task: str, seed: int = 0, updates: int = 0
) -> PlannedPolicy:
    """A planning policy with the weights of a world model and freshly initialised actor and critics."""
    row = model.index(task)
    policy = PlannedPolicy(
        {
            "kind": _KIND,
            "task": task,
            "seed": seed,
            "observation_dim": model.observation_dims[row],
            "action_dim": model.action_dims[row],
            "world model": describe(model),
            "config": to_dict(config),
            "plan": to_dict(planning),
            "updates": updates,
        }
    )
    policy.model.load_state_dict(model.state_dict())
    return policy
