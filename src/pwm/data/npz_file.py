"""Reads the arrays of an .npz archive row by row: memory use does not grow with the file."""

from __future__ import annotations

import math
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pwm.runtime.errors import PWMError

_SMALL = 1 << 28  # bytes; anything larger cannot be an index array


def open_columns(path: Path, stack: ExitStack) -> dict[str, Column]:
    """The arrays of an .npz file by name, open until `stack` closes.

    Raises:
        PWMError: the file is missing or damaged.
    """
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        return {
            info.filename.removesuffix(".npy"): Column(
                path, info.filename.removesuffix(".npy"), stack.enter_context(archive.open(info)), info.file_size
            )
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
    except PWMError:
        raise
    except FileNotFoundError as error:
        raise PWMError(f"{path}: no such file; check the path") from error
    except Exception as error:  # zipfile, zlib and NumPy each have their own for a damaged file
        raise _damaged(path, error) from error


class Column:
    """One array of an archive, read in order."""

    def __init__(self, path: Path, name: str, file: Any, size: int) -> None:
        self.path, self.name, self.file = path, name, file
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, self.fortran, self.dtype = read(file)
        if not self.dtype.hasobject and math.prod(self.shape) * self.dtype.itemsize > size:
            raise _damaged(path, f"{name} ends early")

    def require(self, kinds: str, what: str) -> None:
        """Raises PWMError if the array is not a plain one of these kinds of NumPy dtypes."""
        if self.dtype.hasobject:
            raise PWMError(
                f"{self.path}: {self.name} holds Python objects, as arrays of unequal lengths do; "
                f"save plain arrays of {what}, with lengths [E] for episodes of different lengths"
            )
        if self.fortran and len(self.shape) > 1:
            raise PWMError(f"{self.path}: {self.name} is in Fortran order; save it with np.ascontiguousarray")
        if self.dtype.kind not in kinds:
            raise PWMError(f"{self.path}: {self.name} holds {self.dtype.name}, must hold {what}")

    def rows(self, count: int) -> np.ndarray:
        """The next rows [count, ...]."""
        shape = (count, *self.shape[1:])
        size = math.prod(shape) * self.dtype.itemsize
        try:
            data = self.file.read(size)
        except Exception as error:  # a damaged archive
            raise _damaged(self.path, error) from error
        if len(data) < size:
            raise _damaged(self.path, f"{self.name} ends early")
        return np.frombuffer(data, self.dtype).reshape(shape)

    def all(self, kinds: str, what: str) -> np.ndarray:
        """The whole array, see `require`; only for small ones."""
        self.require(kinds, what)
        if math.prod(self.shape) * self.dtype.itemsize > _SMALL:
            raise PWMError(f"{self.path}: {self.name} of {list(self.shape)} entries is too large; check the file")
        return self.rows(self.shape[0]) if self.shape else self.rows(1)


def _damaged(path: Path, error: object) -> PWMError:
    return PWMError(f"{path}: not a readable .npz file ({error}); check the path or make the file again")
