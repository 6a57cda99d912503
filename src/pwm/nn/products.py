"""Matrix products in float32 or, several times faster on suitable hardware, with factors rounded to bfloat16.

A `Factor` is prepared once for many products. `Gathered` computes the weight gradients of many calls, as in the steps
of a rollout, in a few large products.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from pwm.nn import native

_SMALL = 1 << 20
"""With fewer multiply-adds, the overhead of another library does not pay off."""
_LONG = 1 << 15
"""From this many entries on, batched products with one column are sums, since libraries are slow at them."""
_PACKED = 1 << 16
"""From this many entries on, a lasting matrix is kept in the library's own layout."""
_FEW, _TYPICAL = 4, 64
"""From this many rows on, that layout is faster; it is chosen for this number."""
_ROWS = 1024
"""Least rows of a product of gathered weight gradients, if there are as many; more are hardly faster."""


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """ "float32" or "bfloat16"; "auto" means bfloat16 if the device multiplies it in hardware.

    Depends only on the instruction set and not on a measurement, so that results are reproducible.
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
    """Whether float32 products use oneDNN: on CPUs with AVX-512, which MKL does not always use."""
    supported = getattr(torch.cpu, "_is_avx512_supported", lambda: False)
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return bool(there and supported())


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [m, k] b [k, n], or a batch, without gradients; bfloat16 factors give a bfloat16 product.

    bfloat16 products are accumulated in float32 and rounded at the end.
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
    """Whether matrices are contiguous in row- or column-major order; oneDNN is slow for others."""
    return x.is_contiguous() or x.mT.is_contiguous()


def lowered(x: Tensor, precision: str) -> Tensor:
    """x in the number format of products with this precision, to round rows once that are used many times."""
    return x.to(torch.bfloat16) if precision == "bfloat16" else x


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


class Gathered:
    """Accumulates the gradient of one weight over many calls: inputs and gradients are multiplied many rows at a time.

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
        """Add the input [..., rows, inputs] of a product and the gradient [..., rows, outputs] of its result."""
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
        """The sum, or None if nothing was added; then start over. In the products' number format if one product was
        enough."""
        if self.pairs:
            self._multiply()
        total, self.total = self.total, None
        return total


class Factor:
    """A matrix [k, n], or a batch of them, on the right of several products: rounded once, and if it pays off kept in a
    faster layout, with the same results.

    Args:
        matrix: contiguous, or its transpose is. Not differentiated.
        precision: "float32" or "bfloat16", the number format of its products.
        lasting: used so often that any preparation pays off.
    """

    def __init__(self, matrix: Tensor, precision: str, lasting: bool = False) -> None:
        self.matrix = lowered(matrix.detach(), precision)
        self.lasting = lasting and has_onednn() and matrix.ndim == 2
        self._ready: dict[tuple[str, bool], Tensor] = {}  # (implementation, whether transposed) -> prepared matrix

    @property
    def members(self) -> int | None:
        """Number of matrices; None for a single one without that axis."""
        return len(self.matrix) if self.matrix.ndim == 3 else None

    @property
    def dtype(self) -> torch.dtype:
        """The number format of left factors."""
        return self.matrix.dtype

    def times(self, x: Tensor) -> Tensor:
        """x [members, rows, k] times the matrices, or x [..., k] times a single one."""
        return self._product(x, self.matrix, False)

    def back(self, grad: Tensor) -> Tensor:
        """The gradient of x from that of `times(x)`: a product with the transpose."""
        return self._product(grad, self.matrix.mT, True)

    def _product(self, x: Tensor, matrix: Tensor, transposed: bool) -> Tensor:
        if matrix.ndim == 2 and x.ndim != 2:
            return self._product(_rows(x), matrix, transposed).view(*x.shape[:-1], matrix.shape[-1])
        if native.multiplies(x, matrix):
            if ("ours", transposed) not in self._ready:
                self._ready["ours", transposed] = native.pack(matrix)
            return native.multiply(x, self._ready["ours", transposed], matrix.shape[-1])
        known = native.served(matrix) and matrix.dtype in (torch.float32, torch.bfloat16)
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
