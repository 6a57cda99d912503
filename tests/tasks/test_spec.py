import dataclasses
import json

import pytest

from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task
from pwm.tasks.spec import TaskSpec

GOOD = dict(id="a-task", observation_dim=3, action_dim=2, episode_length=10, action_repeat=2, score="return", make=dict)


def test_as_dict_is_json_of_all_fields_but_make():
    expected = {key: value for key, value in GOOD.items() if key != "make"}
    assert json.loads(json.dumps(TaskSpec(**GOOD).as_dict())) == expected


def test_a_range_of_returns_is_told_where_there_is_one():
    spec = TaskSpec(**GOOD, return_range=(-3, 1.5))
    assert spec.as_dict()["return_range"] == [-3, 1.5] and spec != TaskSpec(**GOOD)


def test_comparison_ignores_make_only():
    spec = TaskSpec(**GOOD)
    assert spec == TaskSpec(**GOOD | {"make": list})
    assert spec != TaskSpec(**GOOD | {"observation_dim": 4})


def test_packages_are_those_that_make_names():
    assert get_task("ant").packages == ("newton", "warp-lang") and get_task("mw-reach").packages == ("metaworld",)
    assert get_task("cup-catch").packages == ()


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TaskSpec(**GOOD).id = "other"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../up"),
        ("id", ""),
        ("id", "a/b"),
        ("id", ".hidden"),
        ("id", "line\n"),
        ("observation_dim", 0),
        ("action_dim", 1.0),
        ("episode_length", -1),
        ("action_repeat", True),
        ("score", "profit"),
        ("make", "env"),
        ("return_range", (1.0, 1.0)),
        ("return_range", (0.0, float("inf"))),
        ("return_range", 1000.0),
    ],
)
def test_a_bad_field_is_named(field, value):
    with pytest.raises(PWMError, match="task id" if field == "id" else field):
        TaskSpec(**GOOD | {field: value})
