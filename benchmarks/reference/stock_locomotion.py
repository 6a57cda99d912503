"""Newton's own Featherstone solver on the robots of the locomotion tasks, as its documentation uses it.

One collision pass per environment step, K solver substeps, Python launches, one tape. Its gradients are known to be
wrong (docs/locomotion.md); here only its time counts.
"""

from __future__ import annotations

import newton
import torch
import warp as wp

from pwm.tasks.locomotion.robot import Robot
from pwm.tasks.locomotion.settings import Physics


class StockSimulator:
    """`worlds` copies of a robot above a ground plane."""

    def __init__(self, robot: Robot, worlds: int, physics: Physics, q: torch.Tensor, qd: torch.Tensor) -> None:
        builder = newton.ModelBuilder()
        builder.replicate(robot.builder, worlds, spacing=(0.0, 0.0, 0.0))
        if physics.contact is not None:
            builder.add_ground_plane()
        self.model = model = builder.finalize(requires_grad=True)
        every = physics.mass_matrix_every
        self.solver = newton.solvers.SolverFeatherstone(model, angular_damping=0.0, update_mass_matrix_interval=every)
        self.states = [model.state() for _ in range(physics.substeps + 1)]
        self.control = model.control()
        self.pipeline = newton.CollisionPipeline(model) if physics.contact is not None else None
        self.contacts = self.pipeline.contacts() if self.pipeline is not None else None
        self.dt = physics.step_seconds / physics.substeps
        self.start = [x.flatten().numpy() for x in (q, qd)]
        self.ones = wp.ones_like(self.states[-1].joint_q)
        self.restart()

    def restart(self) -> None:
        """Puts the first state back."""
        first = self.states[0]
        first.joint_q.assign(self.start[0])
        first.joint_qd.assign(self.start[1])
        newton.eval_fk(self.model, first.joint_q, first.joint_qd, first)

    def forward(self) -> None:
        """One environment step."""
        if self.pipeline is not None:
            self.pipeline.collide(self.states[0], self.contacts)
        for before, after in zip(self.states, self.states[1:], strict=False):
            before.clear_forces()
            self.solver.step(before, after, self.control, self.contacts, self.dt)

    def forward_backward(self) -> None:
        """The same on a tape, and its adjoint from the last coordinates to the first."""
        tape = wp.Tape()
        with tape:
            self.forward()
        tape.backward(grads={self.states[-1].joint_q: self.ones})
        tape.zero()
