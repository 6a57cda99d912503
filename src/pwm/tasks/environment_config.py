"""Settings of the simulator; they import no PyTorch, so that `pwm train --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pwm.runtime.config import require


@dataclass(frozen=True)
class EnvironmentConfig:
    """The simulator that a baseline trains in."""

    mass_matrix_every: int | None = None
    """Simulator substeps between two updates of the mass matrix; by default the task's own."""
    contact_stiffness: float | None = None
    """Stiffness of ground contact in newtons per metre; by default the task's own."""

    def __post_init__(self) -> None:
        for name in ("mass_matrix_every", "contact_stiffness"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "above 0")

    def given(self) -> dict[str, Any]:
        """The settings that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}
