"""Warp kernels of our own: contact with the ground, muscles, and the mass matrix. One world is one robot.

Arrays over bodies and dofs of all worlds are flat: world w's body b is entry w * bodies + b.
"""

from __future__ import annotations

from pwm.tasks.locomotion.newton_kernels import wp


@wp.kernel
def ground_contact(
    bodies: int,
    point_body: wp.array[int],
    point: wp.array[wp.vec3],
    point_radius: wp.array[float],
    stiffness: float,
    damping: float,
    friction_slope: float,
    friction: float,
    body_q: wp.array[wp.transform],
    body_qd: wp.array[wp.spatial_vector],
    body_com: wp.array[wp.vec3],
    wrench: wp.array[wp.spatial_vector],
):
    """Penalty force of the ground z = 0 on one candidate point of one world, added to its body's wrench at the COM.

    At height c < 0 with velocity v: normal force -c ke + min(v_z, 0) kd c, and friction
    -min(kf |v_t|, mu ke (-c)) v_t / |v_t|.
    Damping that grows with depth keeps the force continuous where contact begins, and so its gradient right.
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
def mass_matrix(
    bodies: int,
    dofs: int,
    pair_body: wp.array[int],
    pair_dof: wp.array[int],
    path_start: wp.array[int],
    path_end: wp.array[int],
    path: wp.array[int],
    subspace: wp.array[wp.spatial_vector],
    inertia: wp.array[wp.spatial_matrix],
    matrix: wp.array[float],
):
    """Adds one (link, dof on the link's path to the root) pair's row to the mass matrix H = sum over links S^T I S.

    `path[path_start:path_end]` are the dofs on the path. Entries off the paths are zero and never touched.
    """
    world, i = wp.tid()
    row = pair_dof[i]
    momentum = inertia[world * bodies + pair_body[i]] * subspace[world * dofs + row]
    base = (world * dofs + row) * dofs
    for k in range(path_start[i], path_end[i]):
        column = path[k]
        wp.atomic_add(matrix, base + column, wp.dot(momentum, subspace[world * dofs + column]))
