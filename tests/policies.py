"""Policies of random weights, which nobody trained."""

import torch

from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.deployed import Policy
from pwm.runtime.config import to_dict
from pwm.world_model.config import world_model_size


def untrained_policy(task, observation_dim, action_dim, seed=0, *, padded=(4, 3), weights=0, std=1.0, level=None):
    """A `Policy` whose weights are drawn with the seed `weights`; its actions lie around tanh(level) where given."""
    about = {"kind": "policy", "task": task, "seed": seed, "padded": list(padded), "updates": 7}
    about |= {"observation_dim": observation_dim, "action_dim": action_dim}
    about |= {"model": to_dict(world_model_size("tiny")), "config": to_dict(PolicyConfig(actor_units=(8,)))}
    policy = Policy(about)
    generator = torch.Generator().manual_seed(weights)
    for tensor in (*policy.parameters(), policy.context):
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)
    policy.scale[:observation_dim] = 1.0
    if level is not None:
        policy.actor.net.biases[-1].fill_(level)
    return policy
