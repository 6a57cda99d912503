"""Headers of checkpoints, read without their tensors."""

import pytest
import torch

from pwm.runtime.checkpoint import peek_description, tensor_sizes, updates_done, write_described
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
