"""The kernel launches of one environment step: K substeps of articulated dynamics with ground contact, for n robots.

Uses Newton's Featherstone kernels in its own sequence, because the stock solver's gradients are wrong:

* `eval_rigid_tau` overwrites the external wrenches that it reads, and its adjoint then uses the overwritten ones. Here
  it gets a copy, which the tape restores before the adjoint.
* The stock solver has one mass matrix for all substeps of a tape. Here every update has its own.
* Dense products for the mass matrix and the 6 x 6 inertias take most of the stock step. Here the mass matrix is
  computed by the composite rigid body algorithm, with inertias as mass, moment and 3 x 3 inertia (`kernels.py`).
* Forces of contact and joint limits are continuous (`kernels.py`, `robot.py`).

Within the substeps, the velocity of a free joint is in Newton's internal convention.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from pwm.tasks.locomotion import kernels
from pwm.tasks.locomotion.newton_kernels import featherstone, newton, wp
from pwm.tasks.locomotion.robot import ContactPoints, Robot
from pwm.tasks.locomotion.settings import Physics


class _Substep:
    """The arrays of one substep, with gradients; the adjoint pass reads all of them."""

    def __init__(self, bodies: int, dofs: int, device: str) -> None:
        spatial = partial(_zeros, bodies, wp.spatial_vector, device)
        self.body_q, self.body_com_q = (_zeros(bodies, wp.transform, device) for _ in range(2))
        self.body_qd, self.velocity, self.acceleration, self.bias = (spatial() for _ in range(4))
        self.wrench, self.wrench_used, self.wrench_children = (spatial() for _ in range(3))
        self.origin, self.moment = (_zeros(bodies, wp.vec3, device) for _ in range(2))
        self.inertia = _zeros(bodies, wp.mat33, device)
        self.subspace = _zeros(dofs, wp.spatial_vector, device)
        self.tau, self.qdd, self.scratch = (_zeros(dofs, float, device) for _ in range(3))


class _MassMatrix:
    """One update of the mass matrix: the matrix, its Cholesky factor, and the inertias it is computed from."""

    def __init__(self, entries: int, bodies: int, device: str) -> None:
        self.matrix, self.factor = (_zeros(entries, float, device) for _ in range(2))
        self.moment, self.inertia = _zeros(bodies, wp.vec3, device), _zeros(bodies, wp.mat33, device)


def _zeros(length: int, dtype: type, device: str) -> wp.array:
    return wp.zeros(length, dtype=dtype, device=device, requires_grad=True)


class Dynamics:
    """Model, buffers and launch sequence.

    Inputs `q_in` [n*nq], `qd_in` [n*nv], `control` and outputs `q_out`, `qd_out` are Warp arrays with gradients;
    `launch` computes the outputs from the inputs. `control` is the force on each degree of freedom [n*nv], or for a
    robot with muscles the activation of each unit [n*units].
    """

    def __init__(self, robot: Robot, worlds: int, physics: Physics, device: str) -> None:
        self.worlds, self.physics, self.device, self.muscles = worlds, physics, device, robot.muscles
        self.units = 0 if robot.muscles is None else len(robot.muscles.strength)
        builder = newton.ModelBuilder()
        builder.replicate(robot.builder, worlds, spacing=(0.0, 0.0, 0.0))
        self.model = builder.finalize(device=device, requires_grad=False)
        self.bodies = self.model.body_count // worlds
        self.q_size, self.qd_size = self.model.joint_coord_count // worlds, self.model.joint_dof_count // worlds
        m = self.model
        self.bounds = [m.articulation_start, m.articulation_end]
        self.tree = [m.joint_type, m.joint_parent, m.joint_child]
        self.starts = [m.joint_q_start, m.joint_qd_start]
        self._constants(robot.contacts)
        self._buffers()

    def _constants(self, contacts: ContactPoints) -> None:
        model, device = self.model, self.device
        self.body_com_local = wp.zeros(model.body_count, dtype=wp.transform, device=device)
        self._run(featherstone.compute_com_transforms, model.body_count, [model.body_com], [self.body_com_local])
        rows, mass = _rows(model, self.worlds)
        array = partial(wp.array, device=device)
        self.rows, self.mass_sum = [array(part, int) for part in rows], array(mass, float)
        worlds, size = np.arange(self.worlds), self.qd_size
        factorised = (worlds * size * size, np.full(self.worlds, size), worlds * size)
        self.factorised = [array(part, int) for part in factorised]  # start and rows of matrices, start of dofs
        self.contacts = [array(contacts.body, int), array(contacts.point, wp.vec3), array(contacts.radius, float)]
        if (muscles := self.muscles) is not None:
            self.segments = [array(muscles.unit, int), array(muscles.bodies, int), array(muscles.points, wp.vec3)]
            self.segments += [array(muscles.strength, float)]

    def _buffers(self) -> None:
        model, device, steps = self.model, self.device, self.physics.substeps
        dofs, bodies = model.joint_dof_count, model.body_count
        self.q = [_zeros(model.joint_coord_count, float, device) for _ in range(steps + 1)]
        self.qd = [_zeros(dofs, float, device) for _ in range(steps + 1)]  # in Newton's internal convention
        self.q_in, self.q_out = self.q[0], self.q[steps]
        self.qd_in, self.qd_out, self.force, self.force_used = (_zeros(dofs, float, device) for _ in range(4))
        self.control = _zeros(self.worlds * self.units, float, device) if self.units else self.force
        self.substeps = [_Substep(bodies, dofs, device) for _ in range(steps)]
        self.body_q_out, self.body_com_q_out = (_zeros(bodies, wp.transform, device) for _ in range(2))
        entries = self.worlds * self.qd_size**2
        updates = math.ceil(steps / self.physics.mass_matrix_every)
        self.matrices = [_MassMatrix(entries, bodies, device) for _ in range(updates)]

    def launch(self, tape: wp.Tape | None = None) -> None:
        """Launch the whole step. `tape` is the tape that is recording, if any."""
        for i, substep in enumerate(self.substeps):
            self._kinematics(self.q[i], substep.body_q, substep.body_com_q)
            if i == 0:
                self._enter(substep)
            self._motion(self.q[i], self.qd[i], substep)
            self._forces(self.q[i], self.qd[i], substep, tape)
            self._solve(i, substep)
            self._integrate(i, substep)
        self._kinematics(self.q_out, self.body_q_out, self.body_com_q_out)
        self._leave()

    def poses(self) -> np.ndarray:
        """Position and quaternion of every body at the coordinates `q_in`, [bodies of all worlds, 7]."""
        self._kinematics(self.q_in, self.body_q_out, self.body_com_q_out)
        return self.body_q_out.numpy().reshape(-1, 7).copy()

    def _run(self, kernel: wp.Kernel, size: int | tuple[int, int], inputs: list, outputs: list) -> None:
        wp.launch(kernel, size, inputs, outputs, device=self.device)

    def _kinematics(self, q: wp.array, body_q: wp.array, body_com_q: wp.array) -> None:
        m = self.model
        inputs = [*self.bounds, *self.tree, *self.starts, q, m.joint_X_p, m.joint_X_c, self.body_com_local]
        inputs += [m.joint_axis, m.joint_dof_dim]
        self._run(featherstone.eval_rigid_fk, self.worlds, inputs, [body_q, body_com_q])

    def _enter(self, substep: _Substep) -> None:
        """Convert velocity and force of free joints from the public convention (centre of mass) to the internal one."""
        m = self.model
        inputs = [*self.tree, m.joint_qd_start, m.joint_X_p, substep.body_q, m.body_com, self.qd_in]
        convert = featherstone.convert_free_distance_joint_qd_public_to_internal
        self._run(convert, m.joint_count, inputs, [self.qd[0]])
        inputs = [m.joint_type, m.joint_qd_start, self.force]
        convert = featherstone.convert_free_distance_joint_f_public_to_internal
        self._run(convert, m.joint_count, inputs, [self.force_used])

    def _leave(self) -> None:
        m = self.model
        inputs = [*self.tree, m.joint_qd_start, m.joint_X_p, self.body_q_out, m.body_com, self.qd[-1]]
        convert = featherstone.convert_free_distance_joint_qd_internal_to_public
        self._run(convert, m.joint_count, inputs, [self.qd_out])

    def _motion(self, q: wp.array, qd: wp.array, substep: _Substep) -> None:
        m, s = self.model, substep
        inputs = [*self.bounds, *self.tree, *self.starts, m.joint_dof_dim, m.joint_axis, m.joint_X_p]
        inputs += [m.body_mass, m.body_inertia, m.gravity, q, qd, s.body_q, s.body_com_q]
        outputs = [s.body_qd, s.subspace, s.origin, s.velocity, s.acceleration, s.bias, s.moment, s.inertia]
        self._run(kernels.motion, self.worlds, inputs, outputs)

    def _forces(self, q: wp.array, qd: wp.array, substep: _Substep, tape: wp.Tape | None) -> None:
        m, s, contact = self.model, substep, self.physics.contact
        s.wrench.zero_()
        s.wrench_children.zero_()
        if contact is not None:
            inputs = [self.bodies, *self.contacts, contact.stiffness, contact.damping, contact.friction_slope]
            inputs += [contact.friction, s.body_q, s.body_qd, m.body_com]
            self._run(kernels.ground_contact, (self.worlds, len(self.contacts[0])), inputs, [s.wrench])
        if self.muscles is not None:
            inputs = [self.bodies, self.units, *self.segments, self.control, s.body_q, m.body_com]
            self._run(kernels.muscle_forces, (self.worlds, len(self.segments[0])), inputs, [s.wrench])
        wp.copy(s.wrench_used, s.wrench)
        inputs = [None, *self.bounds, *self.tree, *self.starts, m.joint_target_q_start, m.joint_dof_dim]
        inputs += [m.joint_target_q, m.joint_target_qd, q, qd, self.force_used, m.joint_target_ke, m.joint_target_kd]
        inputs += [m.joint_limit_lower, m.joint_limit_upper, m.joint_limit_ke, m.joint_limit_kd]
        inputs += [m.joint_damping, m.joint_stiffness, m.joint_rest_q, s.subspace, s.body_com_q, s.origin]
        inputs += [s.bias, s.wrench_used]
        self._run(featherstone.eval_rigid_tau, self.worlds, inputs, [s.wrench_children, s.tau])
        if tape is not None:  # in the backward pass this runs just before the adjoint of eval_rigid_tau
            tape.record_func(lambda: wp.copy(s.wrench_used, s.wrench), [s.wrench_used])

    def _solve(self, i: int, substep: _Substep) -> None:
        m, s, every = self.model, substep, self.physics.mass_matrix_every
        mass = self.matrices[i // every]
        if i % every == 0:
            mass.moment.zero_()
            mass.inertia.zero_()
            inputs = [*self.bounds, m.joint_parent, m.joint_child, s.moment, s.inertia]
            self._run(kernels.composite, self.worlds, inputs, [mass.moment, mass.inertia])
            inputs = [self.bodies, self.qd_size, *self.rows, self.mass_sum, mass.moment, mass.inertia, s.subspace]
            self._run(kernels.mass_matrix, (self.worlds, self.qd_size), inputs, [mass.matrix])
            inputs = [*self.factorised, mass.matrix, m.joint_armature, mass.factor]
            factorise = featherstone.eval_dense_cholesky_batched
            wp.launch(factorise, self.worlds, inputs, device=self.device, record_tape=False)
        inputs = [self.qd_size, mass.matrix, mass.factor, s.tau]
        self._run(kernels.solve, self.worlds, inputs, [s.qdd, s.scratch])

    def _integrate(self, i: int, substep: _Substep) -> None:
        m = self.model
        inputs = [*self.tree, *self.starts, m.joint_dof_dim, m.joint_X_c, m.body_com, self.q[i], self.qd[i]]
        inputs += [substep.qdd, self.physics.step_seconds / self.physics.substeps]
        self._run(featherstone.integrate_generalized_joints, m.joint_count, inputs, [self.q[i + 1], self.qd[i + 1]])


def _rows(model: newton.Model, worlds: int) -> tuple[tuple[list[int], ...], np.ndarray]:
    """Inputs of `kernels.mass_matrix` for one world: (body, start and end of path per row, all paths), carried mass."""
    ancestor, parent, child = (a.numpy() for a in (model.joint_ancestor, model.joint_parent, model.joint_child))
    start = model.joint_qd_start.numpy()
    joints = model.joint_count // worlds
    mass = model.body_mass.numpy()[: model.body_count // worlds].copy()
    for joint in reversed(range(joints)):
        if parent[joint] >= 0:
            mass[parent[joint]] += mass[child[joint]]
    body, first, last, paths = [], [], [], []
    for joint in range(joints):
        above, link = [], ancestor[joint]
        while link != -1:
            above += range(start[link], start[link + 1])
            link = ancestor[link]
        for dof in range(start[joint], start[joint + 1]):
            body.append(int(child[joint]))
            first.append(len(paths))
            paths += [*range(start[joint], dof + 1), *above]
            last.append(len(paths))
    return (body, first, last, paths), mass
