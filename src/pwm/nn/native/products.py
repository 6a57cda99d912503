"""bfloat16 products with packed right factors that are used many times, by `products.c`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pwm.nn.native.build import kernels
from pwm.nn.native.calls import KINDS, library_for, served, threads_for

_FEW = 8  # rows: with fewer, the kernel reads the factor once for each


def multiplies(x: Tensor, factor: Tensor) -> bool:
    """Whether `multiply` supports x and such a factor, and is fast."""
    fits = x.shape[:-2] == factor.shape[:-2] and x.shape[-1] == factor.shape[-2]
    fits = fits and served(factor) and x.device == factor.device
    return fits and x.dtype == factor.dtype == torch.bfloat16 and x.shape[-2] >= _FEW and multiplies_bfloat16()


def multiplies_bfloat16() -> bool:
    """Whether there are kernels, and they are faster on this processor than PyTorch's products."""
    library = kernels()
    return library is not None and bool(library.multiplies_bfloat16())


def pack(factor: Tensor) -> Tensor:
    """A factor [k, n] or [members, k, n], contiguous or with a contiguous transpose, packed for `multiply`."""
    members, (k, n) = factor.shape[0] if factor.ndim == 3 else 1, factor.shape[-2:]
    columns = not factor.is_contiguous()
    factor = factor.mT.contiguous() if columns else factor
    out = torch.empty(kernels().packed_words(members, k, n), dtype=torch.int32, device=factor.device)
    library_for(factor).pack_factor(
        factor.data_ptr(), KINDS[factor.dtype], members, k, n, columns, out.data_ptr(), threads_for(factor.numel())
    )
    return out


def multiply(x: Tensor, packed: Tensor, n: int) -> Tensor:
    """x [rows, k] or [members, rows, k] times a factor of n columns that `pack` returned; the product is rounded."""
    if x.shape[-1] % 2:
        x = F.pad(x, (0, 1))
    *members, rows, k = x.shape
    x, out = x.contiguous(), x.new_empty((*members, rows, n))
    library_for(x).multiply_packed(
        x.data_ptr(), packed.data_ptr(), members[0] if members else 1, rows, k, n, out.data_ptr(), KINDS[out.dtype],
        threads_for(out.numel()),
    )  # fmt: skip
    return out
