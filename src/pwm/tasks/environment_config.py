"""Settings of the simulator; they import no PyTorch, so that `pwm train --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pwm.runtime.ranges import Few, Positive, Ranged


@dataclass(frozen=True)
class EnvironmentConfig(Ranged):
    """The simulator that a baseline trains in."""

    mass_matrix_every: Few | None = None
    """Simulator substeps between two updates of the mass matrix; by default the task's own."""
    contact_stiffness: Positive | None = None
    """Stiffness of ground contact in newtons per metre; by default the task's own."""

    def given(self) -> dict[str, Any]:
        """The settings that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}
