"""Simulation settings of a locomotion task: substeps, mass-matrix updates, contact."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pwm.runtime.errors import PWMError


@dataclass(frozen=True)
class Contact:
    """Penalty contact with the ground: ke, kd, kf and mu of the paper's simulator (the law: `kernels.ground_contact`).

    stiffness       N/m
    damping         N s/m per m of depth
    friction_slope  N s/m, below the Coulomb limit
    friction        Coulomb coefficient
    """

    stiffness: float
    damping: float
    friction_slope: float
    friction: float


@dataclass(frozen=True)
class Physics:
    """The settings of the engine.

    substeps           per environment step
    mass_matrix_every  substeps between two updates of the mass matrix, 1 to `substeps`
    contact            None for a robot that touches nothing
    limit_stiffness    N m/rad beyond a joint's limits
    step_seconds       one environment step

    Raises PWMError if a field is out of range.
    """

    substeps: int
    mass_matrix_every: int
    contact: Contact | None
    limit_stiffness: float = 1e3
    step_seconds: float = 1.0 / 60.0

    def __post_init__(self) -> None:
        if self.substeps < 1:
            raise PWMError(f"substeps is {self.substeps}; it must be at least 1")
        if not 1 <= self.mass_matrix_every <= self.substeps:
            raise PWMError(
                f"mass_matrix_every is {self.mass_matrix_every}; it must lie in 1..{self.substeps} (substeps)"
            )
        if self.contact is not None and not 0.0 < self.contact.stiffness < float("inf"):
            raise PWMError(f"contact_stiffness is {self.contact.stiffness}; it must be positive and finite (N/m)")


def adapt(
    physics: Physics, substeps: int | None, mass_matrix_every: int | None, contact_stiffness: float | None
) -> Physics:
    """`physics` with the values that are not None replaced. Raises PWMError for values out of range."""
    if contact_stiffness is not None:
        if physics.contact is None:
            raise PWMError("contact_stiffness: nothing touches the ground in this task; leave it out")
        physics = replace(physics, contact=replace(physics.contact, stiffness=float(contact_stiffness)))
    substeps = physics.substeps if substeps is None else substeps
    every = min(physics.mass_matrix_every, substeps) if mass_matrix_every is None else mass_matrix_every
    return replace(physics, substeps=substeps, mass_matrix_every=every)
