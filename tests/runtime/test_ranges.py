import dataclasses
import importlib
import math
import pkgutil
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from pwm.runtime.config import from_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.ranges import Decay, Positive, Range, Ranged, check_ranges


@dataclass(frozen=True)
class Inner(Ranged):
    rate: Positive = 1.0


@dataclass(frozen=True)
class Outer(Ranged):
    count: Annotated[int, Range(1, 65_536)] = 3
    decay: Decay | None = None
    layers: Annotated[tuple[Annotated[int, Range(1, 10)], ...], Range(1, 3)] = (4,)
    pair: tuple[Decay, Annotated[float, Range(-1, 0)]] = (0.5, -0.5)
    table: dict[str, tuple[Decay, Decay]] = dataclasses.field(default_factory=dict)
    path: Path | None = None
    names: tuple[str, ...] = ()
    inner: Inner = Inner()


@pytest.mark.parametrize(
    "good",
    [
        {"count": 1},
        {"count": 65_536},
        {"decay": 0.0},
        {"layers": (1, 10, 1)},
        {"pair": (0.0, -1)},
        {"table": {"a": (0.1, 0.2)}},
        {"path": Path("a/b")},
        {"names": ("x" * 1000,)},
    ],
)
def test_values_in_their_range(good):
    check_ranges(Outer(**good))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"count": 0}, "count is 0, must be from 1 to 65,536"),
        ({"count": 10**30}, "count is 1000000000000000000000000000000, must be from 1 to 65,536"),
        ({"count": "3"}, "count is '3', must be a number from 1 to 65,536"),
        ({"count": None}, "count is None, must be a number"),
        ({"decay": 1.0}, "decay is 1.0, must be at least 0 and below 1"),
        ({"decay": math.nan}, "decay is nan"),
        ({"layers": ()}, "layers has 0 entries, must have from 1 to 3"),
        ({"layers": (1, 11)}, "layers is 11, must be from 1 to 10"),
        ({"pair": (0.5, 0.5)}, "pair is 0.5, must be from -1 to 0"),
        ({"table": {"a": (0.1, math.inf)}}, "table is inf"),
        ({"path": Path("x" * 256)}, "path has a part of more than 255 letters"),
        ({"path": Path("x/" * 2500)}, "path has 4999 letters, must have from 0 to 4,000"),
        ({"names": ("y" * 1001,)}, "names has 1001 letters, must have from 0 to 1,000"),
    ],
)
def test_values_out_of_their_range_are_named(bad, message):
    with pytest.raises(PWMError) as error:
        Outer(**bad)
    assert str(error.value).startswith(message) and "\n" not in str(error.value) and len(str(error.value)) < 150


def test_limits_that_are_not_reached_are_not_part_of_a_range():
    with pytest.raises(PWMError, match="rate is 0.0, must be above 0 and at most 1,000,000,000"):
        Inner(0.0)


def test_from_dict_says_where_the_value_is():
    with pytest.raises(PWMError, match="^run.json: inner.rate is -1.0, must be above 0"):
        from_dict(Outer, {"inner": {"rate": -1}}, where="run.json")


def settings() -> list[type]:
    """The dataclasses of the command line, and those in them."""
    found: list[type] = []

    def visit(cls: type) -> None:
        if cls not in found:
            found.append(cls)
            for hint in typing.get_type_hints(cls).values():
                if dataclasses.is_dataclass(hint):
                    visit(hint)

    for name in (module.name for module in pkgutil.iter_modules(importlib.import_module("pwm.cli").__path__)):
        for cls in vars(importlib.import_module(f"pwm.cli.{name}")).values():
            if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == f"pwm.cli.{name}":
                visit(cls)
    return found


def numbers_without_range(hint: object, ranged: bool = False) -> bool:
    """Whether there is a number in a hint that no range is around."""
    if typing.get_origin(hint) is Annotated:
        inner, *more = typing.get_args(hint)
        here = any(isinstance(x, Range) for x in more) and inner in (int, float)
        return numbers_without_range(inner, here)
    if hint in (int, float):
        return not ranged
    return any(numbers_without_range(x) for x in typing.get_args(hint) if x is not Ellipsis)


def test_every_number_of_the_command_line_declares_its_range():
    assert len(settings()) > 30
    assert numbers_without_range(tuple[int, ...]) and not numbers_without_range(tuple[Decay, ...] | None)
    missing = [
        f"{cls.__name__}.{field}"
        for cls in settings()
        for field, hint in typing.get_type_hints(cls, include_extras=True).items()
        if numbers_without_range(hint)
    ]
    assert missing == []
