"""The result of a step of a vector environment."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """One step of n environments; environments whose episode ended have already started the next."""

    obs: Tensor
    """Observations [n, o] to act on next. Where an episode ended: the first of the next, which carry no gradient."""
    reward: Tensor
    """[n]; differentiable in a `DifferentiableEnvironment`."""
    terminated: Tensor
    """bool [n], the episode ended in a terminal state: do not bootstrap."""
    truncated: Tensor
    """bool [n], the episode reached its length: bootstrap from `final_obs`. Never together with `terminated`."""
    final_obs: Tensor
    """Observations [n, o] before any reset, to bootstrap values from; differentiable as `reward` is."""
