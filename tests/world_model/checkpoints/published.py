"""The published architecture, written plainly from its description, once per way of naming its modules.

Nothing here uses the package: PyTorch's own modules give the names of the tensors, and the forward pass is the one of
the TD-MPC2 paper. `state_dict()` is what the authors' code of that era would have saved.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ERAS = ("sequential", "flat", "named")
BINS = torch.linspace(-10, 10, 101)


class SimNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.softmax(group, dim=-1) for group in x.split(8, dim=-1)], dim=-1)


class NormedLinear(nn.Linear):
    def __init__(self, inputs: int, outputs: int, activation: nn.Module) -> None:
        super().__init__(inputs, outputs)
        self.ln = nn.LayerNorm(outputs)
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.ln(super().forward(x)))


def fused(widths: list[int], simnorm: bool) -> nn.Sequential:
    hidden = [NormedLinear(a, b, nn.Mish()) for a, b in zip(widths[:-2], widths[1:-1])]
    last = NormedLinear(*widths[-2:], SimNorm()) if simnorm else nn.Linear(*widths[-2:])
    return nn.Sequential(*hidden, last)


def plain(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(widths[:-2], widths[1:-1]):
        layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.Mish()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


class FlatEnsemble(nn.Module):
    """Critics as a numbered list of stacked parameters."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        rows = zip(*(member.parameters() for member in members), strict=True)
        self.params = nn.ParameterList(nn.Parameter(torch.stack(row).detach()) for row in rows)

    def tensors(self) -> list[Tensor]:
        return list(self.params)


class NamedEnsemble(nn.Module):
    """Critics as stacked parameters that keep their names, in the place where a TensorDict would have them."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.params = stacked(members)

    def tensors(self) -> list[Tensor]:
        return list(self.params.parameters())


def stacked(members: list[nn.Module]) -> nn.Module:
    out = nn.Module()
    for name, parameter in members[0].named_parameters(recurse=False):
        value = torch.stack([getattr(member, name) for member in members]).detach()
        out.register_parameter(name, nn.Parameter(value if parameter is not None else value))
    for name, _ in members[0].named_children():
        children = [getattr(member, name) for member in members]
        if any(True for _ in children[0].parameters()):
            out.add_module(name, stacked(children))
    return out


class Published(nn.Module):
    """An agent of TD-MPC2 with random weights.

    Args:
        era: one of `ERAS`.
        tasks: rows of the embedding; 0 makes a single-task agent.
        observation, action: padded widths.
        latent, encoder, units, task_dim, critics: as in the paper's table of sizes.
    """

    def __init__(
        self,
        era: str,
        tasks: int,
        observation: int,
        action: int,
        *,
        latent: int = 24,
        encoder: tuple[int, ...] = (20,),
        units: tuple[int, ...] = (28, 28),
        task_dim: int = 6,
        critics: int = 3,
        bins: int = 101,
        episodic: bool = False,
        seed: int = 0,
        wild: bool = True,
    ) -> None:
        super().__init__()
        self.era, self.latent = era, latent
        e = task_dim if tasks else 0
        if tasks:
            self._task_emb = nn.Embedding(tasks, e, max_norm=1)
        enc = [observation + e, *encoder, latent]
        dyn = [latent + e + action, *units, latent]
        if era == "sequential":
            self._encoder = nn.ModuleDict(
                {"state": nn.Sequential(nn.Flatten(-1), *plain(enc), nn.LayerNorm(latent), SimNorm())}
            )
            self._dynamics = nn.Sequential(plain(dyn), nn.LayerNorm(latent), SimNorm())
        else:
            self._encoder = nn.ModuleDict({"state": fused(enc, True)})
            self._dynamics = fused(dyn, True)
        make = plain if era == "sequential" else lambda widths: fused(widths, False)
        self._reward = make([latent + e + action, *units, bins])
        if episodic:
            self._termination = make([latent + e, *units, 1])
        self._pi = make([latent + e, *units, 2 * action])
        members = [make([latent + e + action, *units, bins]) for _ in range(critics)]
        targets = [make([latent + e + action, *units, bins]) for _ in range(critics)]
        if wild:  # before the critics are stacked: the same numbers in every era
            randomise(self, [*members, *targets], seed)
        if era == "named":
            self._Qs = NamedEnsemble(members)
            self._detach_Qs_params = self._Qs.params
            self._target_Qs_params = NamedEnsemble(targets).params
            self.register_buffer("log_std_min", torch.tensor(-10.0))
            self.register_buffer("log_std_dif", torch.tensor(12.0))
        else:
            self._Qs, self._target_Qs = FlatEnsemble(members), FlatEnsemble(targets)

    def with_task(self, x: Tensor, task: int) -> Tensor:
        if not hasattr(self, "_task_emb"):
            return x
        embedding = self._task_emb(torch.tensor([task]))
        return torch.cat([x, embedding.repeat(len(x), 1)], dim=-1)

    def encode(self, observation: Tensor, task: int) -> Tensor:
        return self._encoder["state"](self.with_task(observation, task))

    def next(self, z: Tensor, action: Tensor, task: int) -> Tensor:
        return self._dynamics(torch.cat([self.with_task(z, task), action], dim=-1))

    def reward(self, z: Tensor, action: Tensor, task: int) -> Tensor:
        return self._reward(torch.cat([self.with_task(z, task), action], dim=-1))

    def termination(self, z: Tensor, task: int) -> Tensor:
        return self._termination(self.with_task(z, task))[:, 0]

    def policy(self, z: Tensor, task: int) -> Tensor:
        return self._pi(self.with_task(z, task))

    def q(self, z: Tensor, action: Tensor, task: int) -> Tensor:
        x = torch.cat([self.with_task(z, task), action], dim=-1)
        tensors = self._Qs.tensors()
        return torch.stack([critic(x, [t[k] for t in tensors]) for k in range(len(tensors[0]))])


def critic(x: Tensor, tensors: list[Tensor]) -> Tensor:
    """One critic: four tensors per hidden layer, two for the last."""
    *hidden, weight, bias = tensors
    for i in range(0, len(hidden), 4):
        w, b, gain, shift = hidden[i : i + 4]
        x = F.mish(F.layer_norm(F.linear(x, w, b), gain.shape, gain, shift))
    return F.linear(x, weight, bias)


def two_hot_inv(logits: Tensor) -> Tensor:
    value = (F.softmax(logits, dim=-1) * BINS).sum(dim=-1)
    return value.sign() * (value.abs().exp() - 1)


@torch.no_grad()
def randomise(agent: nn.Module, members: list[nn.Module], seed: int) -> None:
    """Numbers that let every term matter: biases, gains and shifts too; some embeddings longer than 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in (agent, *members):
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
            else:
                scale = 1.5 * parameter.shape[-1] ** -0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
