import json
from dataclasses import dataclass, field
from typing import Any, Literal, Optional

import pytest

from pwm.runtime.config import from_dict, machine, to_dict, versions
from pwm.runtime.errors import PWMError


@dataclass(frozen=True)
class Inner:
    units: tuple[int, ...] = (64, 64)
    span: tuple[float, str] = (1.0, "s")
    rate: float = 3e-4


@dataclass(frozen=True)
class Outer:
    name: str
    mode: Literal["paper", 2] = "paper"
    limit: Optional[float] = None  # noqa: UP045  (the old spelling must work too)
    threads: int | None = None
    either: int | str = 0
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    table: dict[str, list[int]] = field(default_factory=dict)
    flag: bool = False
    anything: Any = None


@pytest.mark.parametrize(
    "config",
    [
        Outer("x"),
        Outer(
            "y",
            mode=2,
            limit=0.1,
            threads=3,
            either="auto",
            inner=Inner((1,), (2.5, "h"), 1e-30),
            many=(Inner(), Inner(units=())),
            table={"a": [1, 2]},
            flag=True,
            anything=[1, {"k": None}],
        ),
    ],
)
def test_round_trip_through_json(config):
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


def test_missing_fields_take_defaults_and_int_serves_as_float():
    config = from_dict(Outer, {"name": "x", "inner": {"rate": 1}})
    assert config == Outer("x", inner=Inner(rate=1.0))
    assert type(config.inner.rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "unknown field nmae; did you mean name?"),
        ({"zzz": 1}, "unknown field zzz; Outer has name, mode"),
        ({"inner": {"unit": [1]}}, "unknown field inner.unit; did you mean inner.units?"),
        ({"inner": {"rate": "fast"}}, "field inner.rate: expected float, got 'fast'"),
        ({"inner": 3}, "inner: expected an object"),
        ({"inner": {"units": [64, 6.5]}}, r"field inner.units\[1\]: expected int, got 6.5"),
        ({"inner": {"span": [1.0]}}, "field inner.span: expected tuple"),
        ({"many": [{}, {"rate": None}]}, r"field many\[1\].rate: expected float, got None"),
        ({"mode": "papre"}, "field mode: expected one of 'paper', 2, got 'papre'"),
        ({"mode": 2.0}, "field mode: expected one of 'paper', 2, got 2.0"),
        ({"limit": True}, "field limit: expected float, got True"),
        ({"threads": True}, "field threads: expected int, got True"),
        ({"flag": 1}, "field flag: expected bool, got 1"),
        ({"limit": "1"}, "field limit: expected float, got '1'"),
        ({"either": 1.5}, r"field either: expected int \| str, got 1.5"),
        ({"table": {"a": [None]}}, r"field table.a\[0\]: expected int, got None"),
        ({"name": None}, "field name: expected str, got None"),
    ],
)
def test_wrong_input_names_the_field(change, message):
    with pytest.raises(PWMError, match=message) as error:
        from_dict(Outer, {"name": "x", **change}, where="run.json")
    assert str(error.value).startswith("run.json: ") and "\n" not in str(error.value)


def test_missing_required_field_and_wrong_whole():
    with pytest.raises(PWMError, match="field name is missing"):
        from_dict(Outer, {})
    with pytest.raises(PWMError, match="Outer: expected an object"):
        from_dict(Outer, ["x"])


def test_description_of_the_machine():
    found = versions()
    assert {"python", "platform", "torch", "numpy", "mujoco", "dm_control"} <= found.keys()
    assert all(isinstance(text, str) and text for text in found.values())
    assert " x " in machine() and "\n" not in machine()
