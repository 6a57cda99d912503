"""Opens a file of `torch.save` whose author is unknown: tensors and plain containers come out, and nothing runs."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike


def read_archive(path: PathLike) -> Any:
    """The object that `torch.save` wrote, with its tensors mapped from the file (they are read when they are used).

    Raises:
        PWMError: the file is missing, truncated, compressed, of another kind, or asks for anything but tensors,
            containers and numbers; nothing that is in it was executed.
    """
    path = Path(path)
    if not path.is_file():
        raise PWMError(f"{path}: no such file; check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise PWMError(
            f"{path}: not an archive of torch.save ({_line(error)}); it is truncated or of another format"
        ) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise PWMError(f"{path}: is a TorchScript program, no checkpoint; save the model's state_dict() instead")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise PWMError(f"{path}: its entries are compressed, which torch.save never does; refused")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise PWMError(
            f"{path}: holds more than tensors ({_culprit(error)}); refused, nothing in it was run"
        ) from error
    except Exception as error:  # torch has many kinds for a damaged archive
        raise PWMError(f"{path}: cannot be read as tensors ({_line(error)}); it is damaged, copy it again") from error


def _culprit(error: Exception) -> str:
    """What the unpickler refused, from its long message."""
    for word in str(error).replace("`", " ").split():
        if "." in word.strip(".") and not word.startswith(("http", "torch.")):
            return word.strip(".,")[:80]
    return _line(error)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
