"""Ranges of fields, declared in their types: `bins: Annotated[int, Range(2, 4096)] = 101`, or by a name from below."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Annotated, Any

from pwm.runtime.errors import PWMError


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, without `low` if `above`, without `high` if `below`; NaN is never in it.

    The range of a text or a tuple is that of its length.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, number: float) -> bool:
        low = self.low < number if self.above else self.low <= number
        return low and (number < self.high if self.below else number <= self.high)

    def __str__(self) -> str:
        low, high = (f"{x:,.0f}" if x == int(x) else f"{x:g}" for x in (self.low, self.high))
        if not self.above and not self.below:
            return f"from {low} to {high}"
        return f"{'above' if self.above else 'at least'} {low} and {'below' if self.below else 'at most'} {high}"


_LENGTH = Range(0, 1000)  # of any other text or tuple
_PATH = Range(0, 4000)
_NAME = 255  # bytes of one part of a path, by the file systems
THREADS = Range(1, 1024)

Seed = Annotated[int, Range(0, 2**31 - 1)]
Steps = Annotated[int, Range(0, 10**12)]
Period = Annotated[int, Range(1, 10**12)]
Episodes = Annotated[int, Range(1, 10**6)]
Batch = Annotated[int, Range(1, 10**6)]
Horizon = Annotated[int, Range(1, 10**5)]
Few = Annotated[int, Range(1, 1000)]
Threads = Annotated[int, THREADS]
Workers = Annotated[int, Range(0, 256)]
Width = Annotated[int, Range(1, 65_536)]
Layers = Annotated[tuple[Width, ...], Range(1, 64)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 1, below=True)]
Weight = Annotated[float, Range(0, 1e9)]
Positive = Annotated[float, Range(0, 1e9, above=True)]
Minutes = Annotated[float, Range(0, 1e7, above=True)]
AnyNumber = Annotated[float, Range(-1e9, 1e9)]


class Ranged:
    """Base of dataclasses that check their fields when they are made; raises PWMError, see `check_ranges`."""

    def __post_init__(self) -> None:
        check_ranges(self)


def check_ranges(config: Any) -> None:
    """Check every field of a dataclass, and of the dataclasses in it, against the range in its type.

    None is in every range. Without a range in their types, texts and tuples have at most 1,000 letters or entries and
    paths 4,000 letters.

    Raises:
        PWMError: names the first field that is out of its range, with value and range.
    """
    for name, hint in _hints(type(config)).items():
        _check(name, hint, getattr(config, name))


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _check(name: str, hint: Any, value: Any, range: Range | None = None) -> None:
    """Check one value against its hint, and against a range from an `Annotated` around it."""
    if typing.get_origin(hint) is Annotated:
        hint, *more = typing.get_args(hint)
        return _check(name, hint, value, next((x for x in more if isinstance(x, Range)), range))
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next((option for option in typing.get_args(hint) if option is not types.NoneType), hint)
        return None if value is None else _check(name, hint, value, range)
    if dataclasses.is_dataclass(value):
        check_ranges(value)
    elif isinstance(value, (str, Path)) and hint not in (int, float):
        _check_text(name, value, range)
    elif isinstance(value, (tuple, list)):
        _refuse_outside(f"{name} has", len(value), range or _LENGTH, " entries")
        items = [a for a in typing.get_args(hint) if a is not Ellipsis] or [Any]
        for item, inner in zip(value, items * len(value) if len(items) == 1 else items):
            _check(name, inner, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(name, str, key)
            _check(name, typing.get_args(hint)[1], item)
    elif range is not None:
        _refuse_outside(f"{name} is", value, range)


def _check_text(name: str, value: str | Path, range: Range | None) -> None:
    text = str(value)
    limit = range or (_PATH if isinstance(value, Path) else _LENGTH)
    _refuse_outside(f"{name} has", len(text), limit, " letters")
    if isinstance(value, Path) and any(len(os.fsencode(part)) > _NAME for part in value.parts):
        raise PWMError(f"{name} has a part of more than {_NAME} letters between its slashes: {text:.40}...")


def _refuse_outside(subject: str, value: Any, range: Range, noun: str = "") -> None:
    if not isinstance(value, Real):
        raise PWMError(f"{subject} {value!r:.40}, must be a number {range}")
    if value not in range:
        raise PWMError(f"{subject} {str(value):.40}{noun}, must {'have' if noun else 'be'} {range}")
