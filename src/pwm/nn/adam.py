"""Gradient clipping and Adam (Kingma and Ba 2015) as one step, for fleets and single networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pwm.nn import native


@torch.no_grad()
def clip_per_member(grads: Sequence[Tensor], members: int, max_norm: float) -> Tensor:
    """Clip each member's gradient to `max_norm`, independently of other members.

    Args:
        grads: gradients whose leading axis is [members * k] for some k; changed in place.
        members: number of members.
        max_norm: bound on the Euclidean norm over all of a member's entries.

    Returns:
        The norms before clipping [members].
    """
    flat = [grad.view(members, -1) for grad in grads]
    squares = torch.stack([torch.linalg.vector_norm(grad, dim=1) for grad in flat])
    norms = torch.linalg.vector_norm(squares, dim=0)
    factor = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for grad in flat:
        grad.mul_(factor[:, None])
    return norms


@torch.no_grad()
def clipped_step(optimiser: torch.optim.Adam, grads: Sequence[Tensor | None], members: int, max_norm: float) -> Tensor:
    """Clip each member's gradient (`clip_per_member`) and step the optimiser; returns the norms before [members].

    Also clears the parameters' gradients.

    Args:
        optimiser: keeps the same state as with PyTorch's own step.
        grads: one for each of its parameters, in their order, in float32 or bfloat16. Parameters with None are skipped.
    """
    grouped = [(p, group) for group in optimiser.param_groups for p in group["params"]]
    wanted = [(p, group, grad) for (p, group), grad in zip(grouped, grads, strict=True) if grad is not None]
    parameters, groups, grads = ([row[i] for row in wanted] for i in range(3))
    if _served(optimiser, parameters, groups) and native.kernels() is not None:
        states, rates = [optimiser.state[p] for p in parameters], [float(group["lr"]) for group in groups]
        grads, betas, eps = [grad.contiguous() for grad in grads], groups[0]["betas"], groups[0]["eps"]
        norms = native.clip_adam(parameters, grads, states, rates, members, max_norm, betas, eps)
    else:
        grads = [grad.to(p.dtype) for grad, p in zip(grads, parameters, strict=True)]
        norms = clip_per_member(grads, members, max_norm)
        optimiser.zero_grad()
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimiser.step()
    _finish(optimiser, parameters)
    return norms


def _served(optimiser: torch.optim.Adam, parameters: Sequence[Tensor], groups: Sequence[dict]) -> bool:
    """Whether the kernel supports this step: plain Adam on float32 tensors, with equal settings except step sizes."""
    if not parameters:
        return False
    first = groups[0]
    for group in optimiser.param_groups:
        if group["weight_decay"] or group["amsgrad"] or group["maximize"]:
            return False
        if group["betas"] != first["betas"] or group["eps"] != first["eps"]:
            return False
    for p in parameters:
        if not _plain(p):  # its state is for PyTorch to make
            return False
        state = _state(optimiser, p)
        step, mean, square = state["step"], state["exp_avg"], state["exp_avg_sq"]
        if not (_plain(step) and _plain(mean) and _plain(square)):
            return False
        if step.numel() != 1 or not p.shape == mean.shape == square.shape:
            return False
    return True


def _plain(x: Tensor) -> bool:
    """Whether x is a contiguous float32 tensor on the CPU."""
    return x.dtype == torch.float32 and x.is_cpu and x.is_contiguous()


def _finish(optimiser: torch.optim.Adam, parameters: Sequence[Tensor]) -> None:
    """Clear gradients, and bump the parameters' versions, since neither form of the step does."""
    if any(p.grad is not None for group in optimiser.param_groups for p in group["params"]):
        optimiser.zero_grad()
    torch.autograd.graph.increment_version(parameters)


def _state(optimiser: torch.optim.Adam, parameter: Tensor) -> dict[str, Tensor]:
    """Adam's counter and moments of a parameter, initialised as in its first step."""
    state = optimiser.state[parameter]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device="cpu")
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    return state
