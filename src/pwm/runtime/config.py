"""Frozen dataclasses to JSON and back, with every field checked; and a description of the machine."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.metadata
import os
import platform
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pwm.runtime.errors import PWMError

T = TypeVar("T")

Precision = Literal["auto", "float32", "bfloat16"]
"""Number format of matrix products; "auto" uses bfloat16 where the hardware supports it."""


def require(holds: bool, field: str, value: object, rule: str) -> None:
    """Raise PWMError, naming the field and the rule, unless the rule holds."""
    if not holds:
        raise PWMError(f"{field} is {value}, must be {rule}")


def to_dict(config: Any) -> Any:
    """A dataclass, including nested ones, as dicts, lists and plain values; `from_dict` is the inverse."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}
    if isinstance(config, dict):
        return {key: to_dict(value) for key, value in config.items()}
    return [to_dict(value) for value in config] if isinstance(config, (list, tuple)) else config


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build dataclass `cls` from `data`, checking every value against the field's type hint.

    Supported hints: bool, int, float (also accepts an int), str, None, Any, Literal, unions, tuple, list,
    dict[str, ...], nested dataclasses. Missing fields take their defaults. `where` (a file, say) begins each message.

    Raises:
        PWMError: a field is unknown, missing without a default, or wrongly typed; the message names it.
    """
    prefix = f"{where}: " if where else ""
    return _dataclass(cls, data, prefix, "")


def check_type(kind: Any, value: Any, field: str, where: str) -> None:
    """Raise PWMError, naming the field of the file `where`, unless the value is of a type that `from_dict` knows."""
    _value(kind, value, f"{where}: ", field)


def _dataclass(cls: type[T], data: Any, prefix: str, path: str) -> T:
    if not isinstance(data, dict):
        where = path.rstrip(".") or cls.__name__
        raise PWMError(f"{prefix}{where}: expected an object with named fields, got {data!r:.60}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, n=1)
            cure = f"did you mean {path}{close[0]}?" if close else f"{cls.__name__} has {', '.join(fields)}"
            raise PWMError(f"{prefix}unknown field {path}{name}; {cure}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise PWMError(f"{prefix}field {path}{name} is missing; add it")
    hints = typing.get_type_hints(cls)
    values = {name: _value(hints[name], value, prefix, path + name) for name, value in data.items()}
    try:
        return cls(**values)
    except PWMError as error:  # a value out of its range
        raise PWMError(f"{prefix}{path}{error}") from error


def _value(kind: Any, value: Any, prefix: str, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, prefix, path + ".")  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):
        return _union(kind, arguments, value, prefix, path)
    if origin is Literal and any(type(value) is type(choice) and value == choice for choice in arguments):
        return value
    if (origin or kind) in (tuple, list) and isinstance(value, (tuple, list)):
        kinds = _item_kinds(origin or kind, arguments, len(value))
        if len(kinds) == len(value):
            items = (_value(k, v, prefix, f"{path}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
            return (origin or kind)(items)
    if (origin or kind) is dict and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        item_kind = arguments[1] if arguments else Any
        return {key: _value(item_kind, item, prefix, f"{path}.{key}") for key, item in value.items()}
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (bool, int, str, types.NoneType) and type(value) is kind:  # a bool is not accepted as an int
        return value
    raise PWMError(f"{prefix}field {path}: expected {_name(kind)}, got {value!r:.60}")


def _union(kind: Any, arguments: tuple, value: Any, prefix: str, path: str) -> Any:
    if value is None and types.NoneType in arguments:
        return None
    options = [option for option in arguments if option is not types.NoneType]
    if len(options) == 1:  # Optional[X]: the message for X is more precise
        return _value(options[0], value, prefix, path)
    for option in options:
        try:
            return _value(option, value, prefix, path)
        except PWMError:
            continue
    raise PWMError(f"{prefix}field {path}: expected {_name(kind)}, got {value!r:.60}")


def _item_kinds(container: type, arguments: tuple, length: int) -> tuple:
    if not arguments:
        return (Any,) * length
    if container is list or arguments[-1] is Ellipsis:
        return (arguments[0],) * length
    return arguments


def _name(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(kind))
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python and of the packages that affect results, and of `more`; imports none of them."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("torch", "numpy", "mujoco", "dm_control", "gymnasium", *more):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> str:
    """One line: number of usable processor cores, processor model, and GPUs."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{cores} x {_processor()}"]
    if torch.cuda.is_available():
        parts += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(parts)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
