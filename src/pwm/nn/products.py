"""Matrix products in float32 or, several times as fast where the hardware has it, with factors rounded to bfloat16.

A `Factor` serves many products: it is rounded once. `Gathered` computes the weight gradients of many calls, as in the
steps of a rollout, in few large products.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from pwm.nn.forms import served
from pwm.nn.native import products as native

_SMALL = 1 << 20
"""Products with fewer multiply-adds do not repay the call of another library."""
_LONG = 1 << 15
"""Entries from which stacks of matrices times one column are written out: libraries are slow at them."""
_PACKED = 1 << 16
"""Entries from which a matrix that lasts is kept in the order that the library multiplies it in."""
_FEW, _TYPICAL = 4, 64
"""Rows from which that order is faster, and for which it is chosen."""
_ROWS = 1024
"""Rows that a product of gathered weight gradients has at least, where there are as many: more is hardly faster."""


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """ "float32" or "bfloat16"; "auto" takes bfloat16 where the device multiplies it in hardware.

    Depends on the machine's instruction set alone and not on a measurement, so that results repeat.
    """
    if precision != "auto":
        return precision
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if supported() else "float32"


def set_precision(module: torch.nn.Module, precision: str) -> None:
    """Let every perceptron inside `module` multiply in this precision ("float32" or "bfloat16")."""
    for part in module.modules():
        if hasattr(part, "precision"):
            part.precision = precision


@functools.cache
def has_onednn() -> bool:
    """Whether float32 products go to oneDNN: on CPUs with AVX-512, which MKL does not use on every one of them."""
    supported = getattr(torch.cpu, "_is_avx512_supported", lambda: False)
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return bool(there and supported())


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [m, k] b [k, n], or a batch of such, without gradients; bfloat16 factors give a bfloat16 product.

    bfloat16 products are summed in float32 and rounded at the end.
    """
    columns = b.shape[-1]
    if a.shape[-1] == 1:
        return a * b
    if columns == 1 and a.ndim == 3 and a.numel() >= _LONG:
        return (a * b.mT).sum(dim=-1, keepdim=True) if a.stride(-1) == 1 else (a.mT * b).sum(dim=1).unsqueeze(-1)
    large = a.dtype == torch.float32 and a.shape[-2] * a.shape[-1] * columns >= _SMALL
    if large and a.device.type == "cpu" and has_onednn() and _dense(a) and _dense(b):
        if a.ndim == 2:
            return torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
        return torch.stack([torch.ops.mkldnn._linear_pointwise(x, y.T, None, "none", [], "") for x, y in zip(a, b)])
    return torch.mm(a, b) if a.ndim == 2 else torch.bmm(a, b)


def _dense(x: Tensor) -> bool:
    """Whether matrices lie in memory without gaps, in one order or the other: oneDNN is slow at others."""
    return x.is_contiguous() or x.mT.is_contiguous()


def lowered(x: Tensor, precision: str) -> Tensor:
    """x in the number format of products of this precision; rounding early pays where rows are used many times."""
    return x.to(torch.bfloat16) if precision == "bfloat16" else x


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


class Gathered:
    """The gradient of one weight from many calls: their inputs and gradients, multiplied when there are many rows.

    Args:
        like: the weight [outputs, inputs], or one for each member [members, inputs, outputs].
    """

    def __init__(self, like: Tensor) -> None:
        self.dtype = like.dtype
        self.single = like.ndim == 2
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.rows = 0
        self.total: Tensor | None = None

    def add(self, x: Tensor, grad: Tensor) -> None:
        """Note the input [..., rows, inputs] of a product and the gradient [..., rows, outputs] at its result."""
        self.pairs.append((_rows(grad), _rows(x)) if self.single else (x, grad))
        self.rows += self.pairs[-1][0].shape[-2]
        if self.rows >= _ROWS:
            self._multiply()

    def _multiply(self) -> None:
        a, b = (x[0] if len(x) == 1 else torch.cat(x, dim=-2) for x in zip(*self.pairs, strict=True))
        part = product(a.mT, b)
        self.total = part if self.total is None else self.total.to(self.dtype).add_(part)
        self.pairs, self.rows = [], 0

    def take(self) -> Tensor | None:
        """The sum, after which all is forgotten, in the products' number format where one product was enough; None
        where nothing came."""
        if self.pairs:
            self._multiply()
        total, self.total = self.total, None
        return total


class Factor:
    """A matrix [k, n], or a batch of them, on the right of several products: rounded once, and kept in the order that
    it is multiplied in where that pays, to the same results.

    Args:
        matrix: it or its transpose lies in memory without gaps. Not differentiated.
        precision: "float32" or "bfloat16", the number format that it is multiplied in.
        lasting: that it will serve so often that any preparation pays.
    """

    def __init__(self, matrix: Tensor, precision: str, lasting: bool = False) -> None:
        self.matrix = lowered(matrix.detach(), precision)
        self.lasting = lasting and has_onednn() and matrix.ndim == 2
        self._ready: dict[tuple[str, bool], Tensor] = {}  # who multiplies it, and whether it is transposed

    @property
    def members(self) -> int | None:
        """How many matrices; None for a single one without that axis."""
        return len(self.matrix) if self.matrix.ndim == 3 else None

    @property
    def dtype(self) -> torch.dtype:
        """What its left factors have to be in."""
        return self.matrix.dtype

    def times(self, x: Tensor) -> Tensor:
        """x [members, rows, k] times the matrices, or x [..., k] times the only one."""
        return self._product(x, self.matrix, False)

    def back(self, grad: Tensor) -> Tensor:
        """The gradient at x from that at `times(x)`: that times the transpose."""
        return self._product(grad, self.matrix.mT, True)

    def _product(self, x: Tensor, matrix: Tensor, transposed: bool) -> Tensor:
        if matrix.ndim == 2 and x.ndim != 2:
            return self._product(_rows(x), matrix, transposed).view(*x.shape[:-1], matrix.shape[-1])
        if served(matrix) and native.multiplies(x, matrix):
            if ("ours", transposed) not in self._ready:
                self._ready["ours", transposed] = native.pack(matrix)
            return native.multiply(x, self._ready["ours", transposed], matrix.shape[-1])
        known = served(matrix) and matrix.dtype in (torch.float32, torch.bfloat16)
        if not self.lasting or not known or x.shape[0] < _FEW or matrix.numel() < _PACKED:
            return product(x, matrix)
        if ("oneDNN", transposed) not in self._ready:
            across = matrix.T.contiguous()
            ready = across if across.is_meta else torch.ops.mkldnn._reorder_linear_weight(across, _TYPICAL)
            self._ready["oneDNN", transposed] = ready
        if matrix.is_meta:
            return product(x, matrix)
        ready = self._ready["oneDNN", transposed]
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), ready, None, "none", [], "")
