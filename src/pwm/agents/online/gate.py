"""Which policies are kept on line: the newest that did about as well, in real episodes, as any before them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Gate:
    """Judges the policies of each round by the real returns of that round.

    Last iterates fall now and then; what is deployed should not. A policy passes where its mean return is at most
    `tolerance` of the range of all rounds' means below their best. So newer policies are preferred, which know more,
    and a lucky round does not shut the gate.

    Args:
        tolerance: from 0 (only a new best passes) to 1 (all pass).
        rounds: mean returns of the rounds before, each [members].
    """

    def __init__(self, tolerance: float, rounds: Sequence[Sequence[float]] = ()) -> None:
        self.tolerance = tolerance
        self.rounds = [list(row) for row in rounds]

    def judge(self, returns: Tensor) -> Tensor:
        """Take note of a round's mean returns [members]; returns which policies pass, bool [members]."""
        self.rounds.append(returns.tolist())
        seen = torch.tensor(self.rounds)
        best, worst = seen.max(dim=0).values, seen.min(dim=0).values
        return seen[-1] >= best - self.tolerance * (best - worst)
