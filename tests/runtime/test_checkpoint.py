"""Headers of checkpoints, read without their tensors."""

import pytest
import torch
from safetensors.torch import save_file

from pwm.runtime.checkpoint import (
    check_same,
    described,
    peek_description,
    read_described,
    tensor_sizes,
    updates_done,
    write_described,
)
from pwm.runtime.errors import PWMError


def test_the_header_alone(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.zeros(3, 4), "half": torch.zeros(5, dtype=torch.bfloat16), "count": torch.tensor([7])}
    write_described(path, tensors, {"kind": "thing", "updates": 30})
    assert peek_description(path) == {"kind": "thing", "updates": 30} and updates_done(path) == 30
    assert tensor_sizes(path) == {"a": 12, "half": 5}
    content = path.read_bytes()
    path.write_bytes(content[:-1])  # one byte of the last tensor is missing
    assert updates_done(path) == 0
    with pytest.raises(PWMError, match="damaged"):
        tensor_sizes(path)


def test_no_checkpoint_is_no_update(tmp_path):
    assert updates_done(tmp_path / "absent.safetensors") == 0
    (tmp_path / "text").write_text("no header")
    assert peek_description(tmp_path / "text") == {}
    with pytest.raises(PWMError, match="no such file"):
        tensor_sizes(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "[1]", '"x"', "1", "null", "{", '{"kind": [1]}'])
def test_an_odd_description_is_one_line(tmp_path, text):
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(1)}, path, {"pwm": text})
    with pytest.raises(PWMError, match="x.safetensors: (was not written by pwm|not valid JSON)") as error:
        read_described(path, "thing")
    assert "\n" not in str(error.value)
    assert isinstance(peek_description(path), dict) and updates_done(path) == 0


def test_an_odd_number_of_updates_is_none(tmp_path):
    for number in ('"many"', "[3]", "null", "2.5", "true"):
        save_file({"w": torch.zeros(1)}, tmp_path / "x", {"pwm": f'{{"kind": "thing", "updates": {number}}}'})
        assert updates_done(tmp_path / "x") == 0


def test_building_from_an_odd_description_names_the_file():
    for build in (lambda: {}["size"], lambda: len(3), lambda: [][2], lambda: "x".size, lambda: torch.zeros(-1)):
        with pytest.raises(PWMError, match="file: its description is incomplete"), described("file"):
            build()
    with pytest.raises(PWMError, match="^a setting$"), described("file"):
        raise PWMError("a setting")


CHANGES = {
    "other data; use the same data": ({"data": "a1"}, {"data": "b2"}),
    "other world model; use the same": ({"world model": "a1"}, {"world model": "b2"}),
    r"other tasks or seeds \(walk seed 0; now walk seed 1\)": ({"members": [["walk", 0]]}, {"members": [["walk", 1]]}),
    r"other tasks \(walk; now walk, run\)": (
        {"made_from": {"tasks": ["walk"]}},
        {"made_from": {"tasks": ["walk", "run"]}},
    ),
    "seed 0, now it is 1; use the same value": ({"seed": 0}, {"seed": 1}),
    "the setting policy.gamma = 0.9, now it is 0.8; use": ({"policy": {"gamma": 0.9}}, {"policy": {"gamma": 0.8}}),
}


@pytest.mark.parametrize("words", CHANGES)
def test_a_change_is_told_in_the_words_of_the_user(words):
    before, now = CHANGES[words]
    check_same("x", before | {"more": 1}, before)
    with pytest.raises(PWMError, match=f"^x: was made with {words}.*or another --out for a new run$") as error:
        check_same("x", before, now)
    assert "a1" not in str(error.value)
