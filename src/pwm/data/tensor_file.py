"""Reads tensors of a file written by `torch.save` as NumPy arrays, without executing anything in it.

Such a file is a zip archive: `data.pkl`, a pickle that describes the objects, and one uncompressed entry per storage
with a tensor's numbers. The pickle is read by `inert.py`, which needs no tensordict to read a TensorDict. Nothing is
decompressed, and numbers are read from disk on demand.
"""

from __future__ import annotations

import zipfile
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pwm.data.inert import Inert, Sealed, read_inert, short
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike

_LONGEST_PICKLE = 16 << 20  # bytes; that of a published chunk has one or two thousand
_LOCAL_HEADER = 30  # bytes of a zip entry's own header, before its name
_STORAGES = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2"}
_STORAGES |= {"Char": "i1", "Byte": "u1", "Bool": "?"}


@dataclass(frozen=True)
class _Kind(Sealed):
    """Stand-in for a storage class of torch: its dtype."""

    dtype: np.dtype


@dataclass(frozen=True)
class _Storage(Sealed):
    """Position of a storage in the file, in bytes, and how many numbers it has."""

    start: int
    count: int
    dtype: np.dtype


@dataclass(frozen=True)
class StoredTensor(Sealed):
    """A tensor on disk, in C order. Row i is `tensor[i]`."""

    file: BinaryIO
    path: Path
    start: int  # position of its first number in the file, in bytes
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def rows(self, first: int, last: int) -> np.ndarray:
        """Rows first:last, read from disk. Raises PWMError if the file is too short."""
        shape = (last - first, *self.shape[1:])
        count = int(np.prod(shape, dtype=np.int64))
        try:
            self.file.seek(self.start + first * self.row_bytes)
            found = np.fromfile(self.file, self.dtype, count)
        except OSError as error:
            raise PWMError(f"{self.path}: cannot read ({error.strerror or error}); check the disk") from error
        if len(found) < count:
            raise PWMError(f"{self.path}: ends before its tensors do; it is truncated, copy it again")
        return found.reshape(shape)


class TensorFile:
    """An open file of tensors; a context manager.

    Args:
        path: a file written by `torch.save`.
        inert: (module, name) of classes, besides all of tensordict, that are replaced by `Inert` stand-ins.

    Raises:
        PWMError: the file is missing, truncated, of another format, or holds more than tensors; nothing was executed.
    """

    def __init__(self, path: PathLike, inert: Sequence[tuple[str, str]] = ()) -> None:
        self.path, self._inert = Path(path), tuple(inert)
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115
        except FileNotFoundError as error:
            raise PWMError(f"{path}: no such file; check the path") from error
        except OSError as error:
            raise PWMError(f"{path}: cannot read ({error.strerror or error}); check its permissions") from error
        try:
            self._root = self._load()
        except PWMError as error:
            raise PWMError(f"{path}: {error}") from error
        finally:
            if not hasattr(self, "_root"):
                self.close()

    def _load(self) -> Any:
        try:
            with zipfile.ZipFile(self._file) as archive:
                entries = {entry.filename: entry for entry in archive.infolist()}
            [description] = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        except Exception as error:  # zipfile raises many types for a damaged archive
            cure = "it is truncated, or no file of torch.save; copy it again"
            raise PWMError(f"not an archive of tensors ({short(error)}); {cure}") from error
        prefix = description.removesuffix("data.pkl")
        order = f"{prefix}byteorder"
        if order in entries and self._entry(entries[order], 16) != b"little":
            raise PWMError("its numbers are not little-endian; save it on such a machine")
        program = self._entry(entries[description], _LONGEST_PICKLE)
        storages = {k.removeprefix(f"{prefix}data/"): e for k, e in entries.items() if k.startswith(f"{prefix}data/")}
        names: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("builtins", "set"): set,
            ("__builtin__", "set"): set,
            ("torch", "Size"): tuple,
            ("torch", "device"): Inert,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *given: self._tensor(*given[:4]),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            **{("torch", f"{name}Storage"): _Kind(np.dtype(dtype)) for name, dtype in _STORAGES.items()},
            **dict.fromkeys(self._inert, Inert),
        }

        def find(module: str, name: str) -> Any:
            return Inert if module.split(".")[0] == "tensordict" else names.get((module, name))

        return read_inert(program, find, lambda pid: self._storage(pid, storages))

    def _storage(self, pid: Any, storages: dict[str, zipfile.ZipInfo]) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], _Kind)):
            raise PWMError("refers to a storage in an unknown way; refused")
        _, kind, key, _, count = pid
        if type(key) is not str or key not in storages or type(count) is not int or count < 0:
            raise PWMError(f"refers to storage {short(key)} that it does not hold; it is damaged")
        start, size = self._span(storages[key])
        if count * kind.dtype.itemsize > size:
            raise PWMError(f"storage {short(key)} is shorter than described; the file is damaged")
        return _Storage(start, count, kind.dtype)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
        """A view of a storage, as a pickle describes it; must be contiguous and inside the storage."""
        if not (isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
            raise PWMError("describes a tensor in an unknown way; refused")
        numbers = (offset, *shape, *strides)
        if not all(type(x) is int and 0 <= x < 1 << 62 for x in numbers) or not len(shape) == len(strides) < 9:
            raise PWMError("describes a tensor with sizes that make no sense; refused")
        count = 1
        for size, stride in zip(reversed(shape), reversed(strides), strict=True):
            if size > 1 and stride != count:
                raise PWMError("a tensor is not in C order; save it again after .contiguous()")
            count *= size
        if offset + count > storage.count:
            raise PWMError("describes a tensor larger than its storage; the file is damaged")
        start = storage.start + offset * storage.dtype.itemsize
        return StoredTensor(self._file, self.path, start, shape, storage.dtype)

    def _span(self, entry: zipfile.ZipInfo) -> tuple[int, int]:
        """(start, size) of an entry's bytes, which must be uncompressed and inside the file."""
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise PWMError(f"{short(entry.filename)} is compressed, which torch.save never does; refused")
        self._file.seek(max(0, entry.header_offset))
        header = self._file.read(_LOCAL_HEADER)
        if entry.header_offset < 0 or len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise PWMError(f"{short(entry.filename)} is not where the archive says; copy the file again")
        start = entry.header_offset + _LOCAL_HEADER + sum(int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
        if start + entry.file_size > self._file.seek(0, 2):
            raise PWMError("ends before its tensors do; it is truncated, copy it again")
        return start, entry.file_size

    def _entry(self, entry: zipfile.ZipInfo, longest: int) -> bytes:
        start, size = self._span(entry)
        if size > longest:
            raise PWMError(f"{short(entry.filename)} has {size} bytes, more than {longest}; refused")
        self._file.seek(start)
        return self._file.read(size)

    def fields(self, names: Sequence[str]) -> dict[str, StoredTensor]:
        """All tensors of the outermost dictionary that has all `names`. Raises PWMError if there is none."""
        seen = set[str]()
        for mapping in _dictionaries(self._root):
            found = {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, StoredTensor)}
            if all(name in found for name in names):
                return found
            seen |= set(found)
        listed = ", ".join(sorted(short(name) for name in seen)[:12]) or "none"
        raise PWMError(f"{self.path}: needs the tensors {', '.join(names)} side by side; it has {listed}")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _dictionaries(root: Any) -> Iterator[dict]:
    """All dictionaries in nested stand-ins, lists, tuples and dictionaries, outermost first, each once."""
    queue, seen = deque([root]), set[int]()
    while queue:
        value = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            yield value
            queue.extend(value.values())
        elif isinstance(value, (list, tuple)):
            queue.extend(value)
        elif isinstance(value, Inert):
            queue.extend(value.contents)
