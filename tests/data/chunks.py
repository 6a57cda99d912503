"""Chunk files made by hand: the bytes of `torch.save` with any pickle inside, and a small task set to import into."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from pwm.tasks.spec import TaskSpec

SPECS = (
    TaskSpec("slim", 2, 1, 4, 2, "return", make=lambda **_: None),
    TaskSpec("mid", 3, 2, 4, 2, "return", make=lambda **_: None),
    TaskSpec("full", 5, 3, 4, 2, "return", make=lambda **_: None),
)
ROWS, WIDE = 5, (5, 3)


def chunk(tasks: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    """Episodes of these tasks; rows 0 of action and reward are NaN, padding is zero."""
    random, n = np.random.default_rng(seed), len(tasks)
    data = {
        "obs": random.normal(size=(n, ROWS, WIDE[0])).astype(np.float32),
        "action": random.uniform(-1, 1, size=(n, ROWS, WIDE[1])).astype(np.float32),
        "reward": random.normal(size=(n, ROWS)).astype(np.float32),
        "task": np.repeat(np.array(tasks, np.int32)[:, None], ROWS, 1),
    }
    for i, k in enumerate(tasks):
        data["obs"][i, :, SPECS[k].observation_dim :] = 0
        data["action"][i, :, SPECS[k].action_dim :] = 0
    data["action"][:, 0] = data["reward"][:, 0] = np.nan
    return data


KINDS = {"float32": "FloatStorage", "int32": "IntStorage", "int64": "LongStorage", "float64": "DoubleStorage"}


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def tensor(key: str, array: np.ndarray, strides: tuple[int, ...] | None = None) -> bytes:
    """The pickle program that rebuilds a tensor, as torch writes it."""
    strides = strides or tuple(s // array.itemsize for s in array.strides)
    storage = b"(" + text("storage") + f"ctorch\n{KINDS[array.dtype.name]}\n".encode() + text(key) + text("cpu")
    storage += number(array.size) + b"tQ"
    sizes = b"".join(b"(" + b"".join(map(number, shape)) + b"t" for shape in (array.shape, strides))
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + sizes + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def old_layout(data: dict[str, np.ndarray]) -> bytes:
    """The program of tensordict 0.2: an object of class `TensorDict` made by `__new__`, then given its state."""
    items = b"".join(text(name) + tensor(str(i), array) for i, (name, array) in enumerate(data.items()))
    n, rows = data["task"].shape
    size = b"ctorch\nSize\n(" + number(n) + number(rows) + b"t\x85R"
    state = text("_tensordict") + b"}(" + items + b"u" + text("_batch_size") + size + text("_device") + b"N"
    state += text("_lock_id") + b"c__builtin__\nset\n]\x85R" + text("_is_shared") + b"\x89"
    return b"\x80\x02ctensordict.tensordict\nTensorDict\n)\x81}(" + state + b"ub."


def write_archive(
    path: Path, program: bytes, arrays: list[np.ndarray] = (), compression: int = zipfile.ZIP_STORED
) -> Path:
    """A file as `torch.save` lays it out, with this pickle and these storages."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", b"little")
        for i, array in enumerate(arrays):
            archive.writestr(f"archive/data/{i}", array.tobytes())
        archive.writestr("archive/version", b"3\n")
    return path


def write_chunk(path: Path, data: dict[str, np.ndarray]) -> Path:
    """A chunk in the old layout."""
    return write_archive(path, old_layout(data), list(data.values()))


def truncated(path: Path, keep: int) -> Path:
    path.write_bytes(io.BytesIO(path.read_bytes()).read(keep))
    return path
