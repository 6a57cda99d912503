"""Environment steps of n robots as a differentiable PyTorch function.

Memory hardly grows with the horizon: a step keeps only its inputs, and its backward pass recomputes it. Both passes are
captured once as a graph and replayed, on CPU and GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from pwm.tasks.locomotion.dynamics import Dynamics
from pwm.tasks.locomotion.newton_kernels import wp
from pwm.tasks.locomotion.robot import Robot
from pwm.tasks.locomotion.settings import Physics

_FASTEST = 1e3  # rad/s or m/s; beyond it the simulation has diverged


class Engine:
    """Simulates `worlds` independent copies of one robot.

    shards  on a CPU, the number of threads that share the copies; the result does not depend on it

    Attributes: `worlds`, `physics`, `device`, `q_size`, `qd_size` (coordinates and degrees of freedom of one robot).
    """

    def __init__(self, robot: Robot, worlds: int, physics: Physics, device: str = "cpu", shards: int = 1) -> None:
        edges = [worlds * i // shards for i in range(shards + 1)]
        self._rows = [slice(a, b) for a, b in zip(edges, edges[1:])]
        self._parts = [_Captured(Dynamics(robot, rows.stop - rows.start, physics, device)) for rows in self._rows]
        self._pool = ThreadPoolExecutor(shards) if shards > 1 else None
        self.worlds, self.physics, self.device = worlds, physics, device
        self.q_size, self.qd_size = self._parts[0].q_size, self._parts[0].qd_size

    def step(self, q: Tensor, qd: Tensor, control: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One environment step: (q, qd, bad), differentiable with respect to all arguments.

        q        [n, q_size]: joint coordinates; of a free joint position (m) and quaternion (x, y, z, w)
        qd       [n, qd_size]: joint velocities; of a free joint the world velocity of the body's centre of mass and the
                 angular velocity (m/s, rad/s)
        control  held for the step; [n, qd_size]: N or N m on each degree of freedom, ignored on free joints; for a
                 robot with muscles [n, units]: activations in [0, 1]
        bad      bool [n]: rows that became non-finite or faster than 1e3; no gradient flows through them
        """
        return _Step.apply(self, q, qd, control)

    def forward(self, q: Tensor, qd: Tensor, control: Tensor) -> tuple[Tensor, Tensor]:
        """(q, qd) after the step, without gradients."""
        return self._each(lambda part, rows: part.forward(q[rows], qd[rows], control[rows]))

    def backward(self, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of (q, qd, control) from those of the step's results; recomputes the step."""
        work = lambda part, rows: part.backward([x[rows] for x in inputs], [x[rows] for x in gradients])  # noqa: E731
        return self._each(work)

    def first_poses(self, q: Tensor) -> np.ndarray:
        """Position (m) and quaternion (x, y, z, w) of the first robot's bodies, [bodies, 7], at `q` [n, q_size]."""
        return self._parts[0].first_poses(q[0])

    def _each(self, work: Callable[[_Captured, slice], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        if self._pool is None:
            return work(self._parts[0], self._rows[0])
        return tuple(map(torch.cat, zip(*self._pool.map(work, self._parts, self._rows))))


class _Captured:
    """`Dynamics` with both passes captured, and tensors that share its memory."""

    def __init__(self, dynamics: Dynamics) -> None:
        self.q_size, self.qd_size = dynamics.q_size, dynamics.qd_size
        self._dynamics, self._device = dynamics, dynamics.device
        inputs, outputs = (dynamics.q_in, dynamics.qd_in, dynamics.control), (dynamics.q_out, dynamics.qd_out)
        self._capture(outputs)

        def shared(array: wp.array) -> Tensor:
            return wp.to_torch(array, requires_grad=False).view(dynamics.worlds, -1)

        self._inputs, self._outputs = [shared(a) for a in inputs], [shared(a) for a in outputs]
        self._input_grads, self._output_grads = [shared(a.grad) for a in inputs], [shared(a.grad) for a in outputs]

    def _capture(self, outputs: tuple[wp.array, wp.array]) -> None:
        self._dynamics.launch()  # loads all kernels, which must not happen during a capture
        self._tape = tape = wp.Tape()
        with tape:
            self._dynamics.launch(tape)
        tape.backward(grads={array: wp.zeros_like(array) for array in outputs})
        given = {array.grad.ptr for array in outputs}
        computed = {grad.ptr: grad for grad in tape.gradients.values() if grad.ptr not in given}
        with wp.ScopedCapture(device=self._device) as capture:
            self._dynamics.launch()
        self._forward = capture.graph
        with wp.ScopedCapture(device=self._device) as capture:
            for gradient in computed.values():
                gradient.zero_()
            tape.backward()
        self._backward = capture.graph

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self._replay(inputs)
        return tuple(output.clone() for output in self._outputs)

    def backward(self, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self._replay(inputs)
        for mine, given in zip(self._output_grads, gradients):
            mine.copy_(given)
        wp.capture_launch(self._backward, stream=self._stream())
        return tuple(gradient.clone() for gradient in self._input_grads)

    def first_poses(self, q: Tensor) -> np.ndarray:
        self._inputs[0][0].copy_(q)
        if (stream := self._stream()) is not None:
            wp.synchronize_stream(stream)  # Warp's own stream, which runs the kinematics, does not wait for PyTorch's
        return self._dynamics.poses()[: self._dynamics.bodies]

    def _replay(self, inputs: Sequence[Tensor]) -> None:
        for mine, given in zip(self._inputs, inputs):
            mine.copy_(given)
        wp.capture_launch(self._forward, stream=self._stream())

    def _stream(self) -> wp.Stream | None:
        """PyTorch's stream on a GPU, so that copies and launches stay in order."""
        if not self._device.startswith("cuda"):
            return None
        return wp.stream_from_torch(torch.cuda.current_stream(self._device))


class _Step(torch.autograd.Function):
    """`Engine.step`."""

    @staticmethod
    def forward(ctx, engine: Engine, q: Tensor, qd: Tensor, control: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_new, qd_new = engine.forward(q, qd, control)
        bad = ~(torch.isfinite(q_new).all(dim=1) & (qd_new.abs().amax(dim=1) <= _FASTEST))  # NaN is never <=
        ctx.engine = engine
        ctx.save_for_backward(q, qd, control, bad)
        ctx.mark_non_differentiable(bad)
        return q_new, qd_new, bad

    @staticmethod
    def backward(ctx, grad_q: Tensor, grad_qd: Tensor, _: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        *inputs, bad = ctx.saved_tensors
        gradients = ctx.engine.backward(inputs, (grad_q, grad_qd))
        # Zero times the NaN of a bad row would be NaN.
        return None, *(gradient.masked_fill(bad[:, None], 0.0) for gradient in gradients)
