"""Our own Warp kernels: motion, mass matrix, ground contact and muscles. One world is one robot.

Arrays over bodies and dofs of all worlds are flat: body b of world w is entry w * bodies + b.
"""

from __future__ import annotations

from pwm.tasks.locomotion.newton_kernels import featherstone, newton, wp

Ints, IntTable, Floats = wp.array[int], wp.array2d[int], wp.array[float]
Vectors, Matrices = wp.array[wp.vec3], wp.array[wp.mat33]
Poses, Spatials = wp.array[wp.transform], wp.array[wp.spatial_vector]


@wp.kernel
def ground_contact(
    bodies: int,
    point_body: Ints,
    point: Vectors,
    point_radius: Floats,
    stiffness: float,
    damping: float,
    friction_slope: float,
    friction: float,
    body_q: Poses,
    body_qd: Spatials,
    body_com: Vectors,
    wrench: Spatials,
):
    """Penalty force of the ground z = 0 on one candidate point of one world, added to its body's wrench at the COM.

    At height c < 0 with velocity v: normal force -c ke + min(v_z, 0) kd c, and friction
    -min(kf |v_t|, mu ke (-c)) v_t / |v_t|.
    Damping grows with depth, so that the force is continuous when contact begins and its gradient correct.
    """
    world, i = wp.tid()
    body = world * bodies + point_body[i]
    pose = body_q[body]
    lowest = wp.transform_point(pose, point[i]) - wp.vec3(0.0, 0.0, point_radius[i])
    height = lowest[2]
    if height >= 0.0:
        return
    arm = lowest - wp.transform_point(pose, body_com[body])
    twist = body_qd[body]
    velocity = wp.spatial_top(twist) + wp.cross(wp.spatial_bottom(twist), arm)
    normal = -height * stiffness
    damped = wp.min(velocity[2], 0.0) * damping * height
    sliding = wp.vec3(velocity[0], velocity[1], 0.0)
    limit = friction * normal
    square = wp.dot(sliding, sliding)
    tangential = -friction_slope * sliding
    if friction_slope * friction_slope * square > limit * limit:
        tangential = sliding * (-limit / wp.sqrt(square))
    force = tangential + wp.vec3(0.0, 0.0, normal + damped)
    wp.atomic_add(wrench, body, wp.spatial_vector(force, wp.cross(arm, force)))


@wp.kernel
def muscle_forces(
    bodies: int,
    units: int,
    segment_unit: Ints,
    segment_bodies: IntTable,
    segment_points: wp.array2d[wp.vec3],
    strength: Floats,
    activation: Floats,
    body_q: Poses,
    body_com: Vectors,
    wrench: Spatials,
):
    """Pull of one muscle segment of one world on its two bodies, added to their wrenches at the COM.

    A straight line between two points; the force along it is activation x strength (`muscles.py`).
    """
    world, i = wp.tid()
    a = world * bodies + segment_bodies[i, 0]
    b = world * bodies + segment_bodies[i, 1]
    start = wp.transform_point(body_q[a], segment_points[i, 0])
    end = wp.transform_point(body_q[b], segment_points[i, 1])
    span = end - start
    length = wp.length(span)
    if length < 1e-6:  # m; the direction is undefined and its gradient would be infinite
        return
    unit = segment_unit[i]
    pull = span * (activation[world * units + unit] * strength[unit] / length)
    arm_a = start - wp.transform_point(body_q[a], body_com[a])
    arm_b = end - wp.transform_point(body_q[b], body_com[b])
    wp.atomic_add(wrench, a, wp.spatial_vector(pull, wp.cross(arm_a, pull)))
    wp.atomic_add(wrench, b, wp.spatial_vector(-pull, wp.cross(pull, arm_b)))


@wp.kernel
def motion(
    first: Ints,
    last: Ints,
    kind: Ints,
    joint_parent: Ints,
    joint_child: Ints,
    q_start: Ints,
    qd_start: Ints,
    dof_dim: IntTable,
    axis: Vectors,
    frame: Poses,
    mass: Floats,
    inertia: Matrices,
    gravity: Vectors,
    q: Floats,
    qd: Floats,
    body_q: Poses,
    body_com_q: Poses,
    body_qd: Spatials,
    subspace: Spatials,
    origin: Vectors,
    velocity: Spatials,
    acceleration: Spatials,
    bias: Spatials,
    moment: Vectors,
    inertia_world: Matrices,
):
    """Recursive Newton-Euler pass from the root outwards, at zero joint acceleration; one thread per robot.

    The same results as Newton's `eval_rigid_id`, without its 6 x 6 inertias, whose products and adjoints take most of
    the stock step. Spatial vectors (linear, angular) refer to the root's centre of mass if the root floats.

    Writes twist at the COM, motion subspace, that origin, spatial velocity and acceleration, the force (with gravity)
    for the motion, and for each body mass x COM and the inertia about the origin.
    """
    robot = wp.tid()
    start = first[robot]
    at = wp.vec3()
    if kind[start] == newton.JointType.FREE:
        at = wp.transform_get_translation(body_com_q[joint_child[start]])
    for i in range(start, last[robot]):
        child = joint_child[i]
        parent = joint_parent[i]
        anchor = frame[i]
        velocity_in = wp.spatial_vector()
        acceleration_in = wp.spatial_vector()
        if parent >= 0:
            anchor = body_q[parent] * anchor
            velocity_in = velocity[parent]
            acceleration_in = acceleration[parent]
        anchor_here = wp.transform(wp.transform_get_translation(anchor) - at, wp.transform_get_rotation(anchor))
        joint_velocity, apparent = featherstone.jcalc_motion(
            kind[i], axis, q, dof_dim[i, 0], dof_dim[i, 1], anchor_here, qd, q_start[i], qd_start[i], subspace
        )
        v = velocity_in + joint_velocity
        a = acceleration_in + featherstone.spatial_cross(v, joint_velocity) + apparent
        w = wp.spatial_bottom(v)
        alpha = wp.spatial_bottom(a)
        com = wp.transform_get_translation(body_com_q[child]) - at
        rotation = wp.quat_to_matrix(wp.transform_get_rotation(body_com_q[child]))
        spin = rotation @ inertia[child] @ wp.transpose(rotation)
        m = mass[child]
        com_velocity = wp.spatial_top(v) + wp.cross(w, com)
        com_acceleration = wp.spatial_top(a) + wp.cross(alpha, com) + wp.cross(w, com_velocity)
        force = m * (com_acceleration - gravity[0])
        torque = spin * alpha + wp.cross(w, spin * w) + wp.cross(com, force)
        origin[child] = at
        velocity[child] = v
        acceleration[child] = a
        body_qd[child] = wp.spatial_vector(com_velocity, w)
        bias[child] = wp.spatial_vector(force, torque)
        moment[child] = m * com
        inertia_world[child] = spin + m * (wp.dot(com, com) * wp.identity(n=3, dtype=float) - wp.outer(com, com))


@wp.kernel
def composite(
    first: Ints,
    last: Ints,
    joint_parent: Ints,
    joint_child: Ints,
    moment: Vectors,
    inertia: Matrices,
    moment_sum: Vectors,
    inertia_sum: Matrices,
):
    """Sums each body's moment and inertia with those of all bodies that it carries; outputs must start at zero."""
    robot = wp.tid()
    start = first[robot]
    count = last[robot] - start
    for k in range(count):
        i = start + count - 1 - k
        child = joint_child[i]
        parent = joint_parent[i]
        wp.atomic_add(moment_sum, child, moment[child])
        wp.atomic_add(inertia_sum, child, inertia[child])
        if parent >= 0:
            wp.atomic_add(moment_sum, parent, moment_sum[child])
            wp.atomic_add(inertia_sum, parent, inertia_sum[child])


@wp.kernel
def mass_matrix(
    bodies: int,
    dofs: int,
    row_body: Ints,
    path_start: Ints,
    path_end: Ints,
    path: Ints,
    mass_sum: Floats,
    moment_sum: Vectors,
    inertia_sum: Matrices,
    subspace: Spatials,
    matrix: Floats,
):
    """One row of the mass matrix, and the symmetric column (composite rigid body algorithm).

    `path[path_start:path_end]` are the dofs from this one to the root, including itself but no later dof of its joint.
    Entries off the paths are zero and never written.
    """
    world, row = wp.tid()
    body = row_body[row]
    carried = world * bodies + body
    moving = subspace[world * dofs + row]
    v = wp.spatial_top(moving)
    w = wp.spatial_bottom(moving)
    h = moment_sum[carried]
    linear = mass_sum[body] * v + wp.cross(w, h)
    angular = inertia_sum[carried] * w + wp.cross(h, v)
    momentum = wp.spatial_vector(linear, angular)
    base = world * dofs * dofs
    for k in range(path_start[row], path_end[row]):
        column = path[k]
        entry = wp.dot(momentum, subspace[world * dofs + column])
        matrix[base + row * dofs + column] = entry
        if column != row:
            matrix[base + column * dofs + row] = entry


@wp.func
def solve_row(
    n: int, matrix_start: int, start: int, matrix: Floats, factor: Floats, tau: Floats, qdd: Floats, scratch: Floats
):
    featherstone.dense_subs(n, matrix_start, start, factor, tau, qdd)


@wp.func_grad(solve_row)
def adjoint_solve_row(
    n: int, matrix_start: int, start: int, matrix: Floats, factor: Floats, tau: Floats, qdd: Floats, scratch: Floats
):
    # With x = H^-1 b: b* = H^-1 x*, and H* = -b* x^T.
    featherstone.dense_subs(n, matrix_start, start, factor, wp.adjoint[qdd], scratch)
    for i in range(n):
        gradient = scratch[start + i]
        wp.adjoint[tau][start + i] += gradient
        for j in range(n):
            wp.adjoint[matrix][matrix_start + i * n + j] -= gradient * qdd[start + j]


@wp.kernel
def solve(n: int, matrix: Floats, factor: Floats, tau: Floats, qdd: Floats, scratch: Floats):
    """Accelerations from forces, given the mass matrix and its Cholesky factor; gradients flow to forces and matrix."""
    robot = wp.tid()
    solve_row(n, robot * n * n, robot * n, matrix, factor, tau, qdd, scratch)
