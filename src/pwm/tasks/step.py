"""What one step of a vector environment gives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """One step of n environments; rows whose episode ended have already started their next one."""

    obs: Tensor
    """Observations [n, o] to act on next: the first of a new episode where one ended, and no gradient enters those."""
    reward: Tensor
    """[n]; differentiable in a `DifferentiableEnvironment`."""
    terminated: Tensor
    """bool [n], the episode ended and nothing comes after."""
    truncated: Tensor
    """bool [n], the episode reached its length; what would come after still has a value. Never with `terminated`."""
    final_obs: Tensor
    """Observations [n, o] before any reset, what a value is bootstrapped from; differentiable as `reward` is."""
