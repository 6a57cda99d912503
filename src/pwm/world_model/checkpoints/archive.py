"""Opens untrusted files of `torch.save`: reads tensors and plain containers, and executes nothing."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from pwm.data.tensor_file import StoredTensor, TensorFile
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike

_ALWAYS = "_reward.0.weight"
"""Name of a tensor that every layout has."""
_KNOWN = (("pwm.utils.running_mean_std", "RunningMeanStd"),)
"""Classes of the objects that PWM's training code saves next to the model."""


def read_archive(path: PathLike) -> Any:
    """The object that `torch.save` wrote, with memory-mapped tensors.

    If the file also holds objects of known classes, only the model's parameters.

    Raises:
        PWMError: the file is missing, truncated, compressed, of another kind, or holds anything but tensors, containers
            and numbers; nothing in it was executed.
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
    except pickle.UnpicklingError:
        return _tensors_among_objects(path)
    except Exception as error:  # torch has many kinds for a damaged archive
        raise PWMError(f"{path}: cannot be read as tensors ({_line(error)}); it is damaged, copy it again") from error


def _tensors_among_objects(path: Path) -> dict[str, torch.Tensor]:
    """The parameters of a model that was saved together with objects of known classes, which are not built."""
    with TensorFile(path, inert=_KNOWN) as file:
        return {name: _read(tensor) for name, tensor in file.fields((_ALWAYS,)).items()}


def _read(tensor: StoredTensor) -> torch.Tensor:
    rows = dataclasses.replace(tensor, shape=tensor.shape or (1,))
    return torch.from_numpy(rows.rows(0, rows.shape[0])).reshape(tensor.shape)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
