"""Atomic files: a reader sees either the old content or the new, never a mixture. Nothing here unpickles."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pwm.runtime.errors import PWMError

if TYPE_CHECKING:
    import torch

PathLike = str | os.PathLike[str]
_DEEPEST = 64  # levels of JSON; what pwm writes has less than ten
_CHECKSUM, _NO_SUM = "sha256", "0" * 64


def write_atomic(path: PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Call `write` with a temporary file beside `path`, flush it to disk, then rename it to `path`.

    Missing folders are created. If `write` raises, the temporary file is removed and the old file stays.

    Raises:
        PWMError: the file cannot be written (no permission, no space left, path is a folder).
    """
    path = Path(path)
    # The random part separates concurrent writers of one path; the last rename wins.
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # it may never have been created; report the first error
            temporary.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def cannot_write(path: PathLike, error: OSError) -> PWMError:
    """The error to raise for a file that cannot be written."""
    return PWMError(f"{path}: cannot write ({error.strerror or error}); check the path, its permissions and free space")


def _cannot_read(path: PathLike, error: OSError) -> PWMError:
    return PWMError(f"{path}: cannot read ({error.strerror or error}); check the path and its permissions")


def read_bytes(path: PathLike) -> bytes:
    """The content of a file. Raises PWMError if it is missing or unreadable."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise PWMError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise _cannot_read(path, error) from error


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as Python values; NaN and infinity as None."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: tuples become lists, NumPy values plain numbers, NaN and infinity null."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_json(path: PathLike, value: Any) -> None:
    """Write `value` atomically as indented UTF-8 JSON, see `to_json`."""
    text = to_json(value, indent=2) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def read_json(path: PathLike) -> Any:
    """Parse a JSON file. Raises PWMError if it is missing, truncated or not JSON that `write_json` would write."""
    value = parse_json(read_bytes(path), path)
    if not _finite(value):
        raise PWMError(f"{path}: not valid JSON (NaN or Infinity); the file is damaged, write it again")
    return value


def parse_json(text: str | bytes, where: PathLike) -> Any:
    """Parse the JSON of the file `where`.

    Raises:
        PWMError: it is not JSON, nested in more than 64 levels, or holds a number that no float can hold.
    """
    try:
        value = json.loads(text, parse_int=_integer)
        level = [value]
        for _ in range(_DEEPEST):
            level = [x for item in level if isinstance(item, (dict, list)) for x in _items(item)]
        if level:
            raise ValueError(f"nested in more than {_DEEPEST} levels")
        return value
    except (ValueError, OverflowError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise PWMError(f"{where}: not valid JSON ({reason:.200}); the file is damaged, write it again") from error


def _items(container: dict | list) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _integer(text: str) -> int:
    value = int(text)
    float(value)  # arithmetic with larger ones raises where nobody expects it
    return value


def _finite(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return all(map(_finite, _items(value)))
    return not isinstance(value, float) or math.isfinite(value)


def write_tensors(path: PathLike, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Atomically write tensors to a safetensors file, with text metadata and a checksum of all its bytes in its header.

    Equal tensors and metadata give equal bytes. Tensors are written one by one, without a second copy of a large model
    in memory. Tensors that share memory are stored separately.
    """
    import torch

    codes = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    codes |= {torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"}
    codes |= {torch.uint8: "U8", torch.bool: "BOOL"}
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # wide dtypes first, for alignment
    about = (metadata or {}) | {_CHECKSUM: _NO_SUM}
    entries: dict[str, Any] = {"__metadata__": dict(sorted(about.items()))}
    end = 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)

    def write(file: BinaryIO) -> None:
        state = hashlib.sha256()

        def put(part: Any) -> None:
            state.update(part)
            file.write(part)

        put(len(header).to_bytes(8, "little"))
        put(header)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().view(-1)
            put(flat.view(torch.uint8).numpy().data)
        file.seek(8 + header.index(_NO_SUM.encode()))
        file.write(state.hexdigest().encode())

    write_atomic(path, write)


def read_tensors(path: PathLike, device: str | torch.device = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read (tensors, metadata) of a safetensors file onto `device`.

    Raises:
        PWMError: it is missing or damaged, or its checksum is wrong. Files of pwm 0.1.0 have none.
    """
    with open_tensors(path, "pt", str(device)) as file:
        metadata = file.metadata() or {}
        recorded = metadata.pop(_CHECKSUM, None)
        if recorded is not None and recorded != _sum_without(path, recorded):
            raise PWMError(f"{path}: wrong checksum, the file changed after it was written; copy or make it again")
        return {name: file.get_tensor(name) for name in file.keys()}, metadata


def _sum_without(path: PathLike, recorded: str) -> str:
    """The checksum of a safetensors file: SHA-256 of its bytes, with zeros in place of the recorded checksum."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        state.update(length + header.replace(recorded.encode(), _NO_SUM.encode(), 1))
        buffer = memoryview(bytearray(1 << 20))
        while count := file.readinto(buffer):
            state.update(buffer[:count])
    return state.hexdigest()


@contextlib.contextmanager
def open_tensors(path: PathLike, framework: str, device: str = "cpu") -> Iterator[Any]:
    """Open a safetensors file, reading only its header. Raises PWMError as `read_tensors` does."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise PWMError(f"{path}: no such file; check the path, or run the step that writes it")
    try:
        with safe_open(path, framework=framework, device=device) as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        cure = "it is damaged or of another format, write it again"
        raise PWMError(f"{path}: not a readable safetensors file ({error}); {cure}") from error


def write_array(path: PathLike, array: np.ndarray) -> None:
    """Atomically write an array as .npy. Raises ValueError for arrays of Python objects."""
    write_atomic(path, lambda file: np.lib.format.write_array(file, np.asarray(array), allow_pickle=False))


def sha256(path: PathLike) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises PWMError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _cannot_read(path, error) from error
