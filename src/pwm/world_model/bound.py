"""A world model with the task of each row fixed: callers pass states and actions, and no task."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Protocol

import torch
from torch import Tensor, nn

from pwm.nn.perceptron import ConditionedMLP, SharedWeights
from pwm.nn.two_hot import TwoHot
from pwm.runtime.errors import PWMError


class Networks(Protocol):
    """What `BoundModel` needs of a world model."""

    encoder: ConditionedMLP
    dynamics: ConditionedMLP
    two_hot: TwoHot
    observation_scale: Tensor
    observation_shift: Tensor
    action_mask: Tensor
    reward_scale: Tensor

    @property
    def heads(self) -> Mapping[str, nn.Module]:
        """See `WorldModel.heads`."""

    def task_contexts(self) -> dict[str, Tensor]:
        """See `WorldModel.task_contexts`."""


class BoundModel:
    """z = E(s, e), z' = F(z, a, e), reward = R(z, a, e) for rows whose tasks are fixed; made by `WorldModel.bind`.

    The contribution of the task embeddings to the first layers is computed once. If the model is bound with gradients
    enabled, gradients flow through it to the weights, for one backward pass. If it is frozen, or bound under
    `torch.no_grad()`, call `refresh` whenever its weights have changed.

    Padded observation entries and masked action entries are multiplied by zero inside, whatever the caller passes.

    Args:
        model: the world model.
        rows: int64 [...], index of each input row's task in the embedding; broadcast against the leading axes.

    Attributes:
        contexts: name of a network -> contribution of the tasks to its first layer [..., hidden[0]].
        observation_scale: [..., observation_dim], factor for observations; 0 for padding.
        observation_shift: [..., observation_dim], subtracted afterwards; 0 for padding.
        action_mask: [..., action_dim], 1 for real entries and 0 for padding.
        reward_scale: [...], real reward that the reward head calls 1.
    """

    def __init__(self, model: Networks, rows: Tensor) -> None:
        self.model, self.rows = model, rows
        self.contexts = {name: self._pick(context) for name, context in model.task_contexts().items()}
        self.observation_scale = self._pick(model.observation_scale)
        self.observation_shift = self._pick(model.observation_shift)
        self.action_mask = self._pick(model.action_mask)
        self.reward_scale = self._pick(model.reward_scale.unsqueeze(1)).squeeze(-1)
        self._in_units = True

    def _pick(self, x: Tensor) -> Tensor:
        # On several threads, the gradient of x[rows] is summed in any order, that of index_select in a fixed one.
        return x.index_select(0, self.rows.flatten()).view(*self.rows.shape, x.shape[1])

    @torch.no_grad()
    def refresh(self) -> None:
        """Recompute everything from the model's current weights, in place, so that recorded CUDA graphs stay valid.

        Raises:
            PWMError: the model was bound with gradients enabled; bind it again for every backward pass.
        """
        if any(context.requires_grad for context in self.contexts.values()):
            raise PWMError("this model was bound for one backward pass; call bind() again instead of refresh()")
        for old, new in zip(self._moving(), BoundModel(self.model, self.rows)._moving(), strict=True):
            old.copy_(new)

    def _moving(self) -> tuple[Tensor, ...]:
        return *self.contexts.values(), self.observation_scale, self.observation_shift, self.reward_scale

    def unmasked(self) -> BoundModel:
        """The same, but padded action entries reach the networks, as in the published code."""
        free = copy(self)
        free.action_mask = torch.ones_like(self.action_mask)
        return free

    def scaled(self) -> BoundModel:
        """The same, but `reward` leaves out `reward_scale`: policies learn from numbers that networks can represent."""
        other = copy(self)
        other._in_units = False
        return other

    def encode(self, observation: Tensor) -> Tensor:
        """Observations [..., observation_dim] to latents [..., latent_dim]."""
        scaled = torch.addcmul(-self.observation_shift, observation, self.observation_scale)
        return self.model.encoder(scaled, self.contexts["encoder"])

    def share(self) -> SharedWeights:
        """The weights of the dynamics, prepared once for all steps of a rollout."""
        return self.model.dynamics.share()

    def step(self, latent: Tensor, action: Tensor, shared: SharedWeights | None = None) -> Tensor:
        """Latents [..., latent_dim] and actions [..., action_dim] to the next latents; `shared` is from `share`."""
        inputs = torch.cat((latent, action * self.action_mask), dim=-1)
        return self.model.dynamics(inputs, self.contexts["dynamics"], shared)

    def rollout(self, latent: Tensor, actions: Tensor) -> list[Tensor]:
        """The latents [..., latent_dim] before and after each of the actions [H, ..., action_dim]: H + 1 of them."""
        latents, shared = [latent], self.share()
        for action in actions:
            latents.append(self.step(latents[-1], action, shared))
        return latents

    def head(self, name: str, latent: Tensor, action: Tensor | None = None) -> Tensor:
        """The output of a head for latents [..., latent_dim] and, if it takes them, actions [..., action_dim].

        Raises:
            PWMError: the model had no such head when it was bound.
        """
        if name not in self.contexts:
            known = ", ".join(self.contexts)
            raise PWMError(
                f"this world model has no {name} head, only {known}; train it with episodic=True for terminations, "
                "or bind it after `add_head`"
            )
        inputs = latent if action is None else torch.cat((latent, action * self.action_mask), dim=-1)
        return self.model.heads[name](inputs, self.contexts[name])

    def reward_logits(self, latent: Tensor, action: Tensor) -> Tensor:
        """Logits [..., bins] of the reward for an action in a latent state."""
        return self.head("reward", latent, action)

    def reward(self, latent: Tensor, action: Tensor, space: str = "true") -> Tensor:
        """The expected reward [...] in the task's units; `space` is "true" or "symlog", see `TwoHot.decode`."""
        reward = self.model.two_hot.decode(self.reward_logits(latent, action), space)
        return reward * self.reward_scale if self._in_units else reward

    @property
    def terminates(self) -> bool:
        """Whether the model has a termination head."""
        return "termination" in self.contexts

    def termination_logit(self, latent: Tensor) -> Tensor:
        """Logit [...] of "the episode has ended" in the latent just entered (episodic models only)."""
        return self.head("termination", latent).squeeze(-1)

    @torch.no_grad()
    def continues(self, latent: Tensor) -> Tensor | None:
        """[...] 0 where the model predicts that the episode has ended in the latent just entered, else 1.

        None for models without a termination head.
        """
        if not self.terminates:
            return None
        logit = self.termination_logit(latent)
        return (logit <= 0.0).to(logit.dtype)
