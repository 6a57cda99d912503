import json
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import safetensors.torch
import torch

from pwm.runtime.errors import PWMError
from pwm.runtime.files import (
    read_json,
    read_tensors,
    sha256,
    write_array,
    write_atomic,
    write_json,
    write_tensors,
)
from pwm.runtime.memory import peak_bytes


def test_exception_during_write_keeps_old_file_and_removes_temporary(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_kill_during_write_keeps_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    script = (
        "import os, signal, sys\n"
        "from pwm.runtime.files import write_atomic\n"
        "def write(file):\n"
        "    file.write(b'new' * 100000); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(sys.argv[1], write)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], env={**os.environ, "PYTHONPATH": _source()})
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def _source():
    import pwm.runtime.files as module

    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(module.__file__))))


def test_write_replaces_and_makes_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, lambda file: file.write(b"one"))
    write_atomic(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


def test_unwritable_path_is_a_pwm_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PWMError, match="cannot write"):
        write_json(tmp_path / "file" / "inside.json", {})


def test_json_is_strict_and_takes_numpy(tmp_path):
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": (1, None), "nan": float("nan"), "inf": [np.float64("inf")]}
    write_json(tmp_path / "x.json", value)
    expected = {"a": 0.5, "b": [0, 1, 2], "c": [1, None], "nan": None, "inf": [None]}
    assert read_json(tmp_path / "x.json") == expected
    assert "NaN" not in (tmp_path / "x.json").read_text()


ODD_JSON = {
    "truncated": b'{"a": 1',
    "not text": b"\xff\xfe",
    "unclosed": b"[" * 100_000,
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep enough to parse": b'{"a":' * 100 + b"1" + b"}" * 100,
    "a huge number": b"[1" + b"0" * 400 + b"]",
    "more digits than Python reads": b"1" * 5000,
    "infinity": b'{"a": [1e400]}',
    "nan": b'{"a": NaN}',
}


@pytest.mark.parametrize("content", ODD_JSON.values(), ids=ODD_JSON)
def test_damaged_json_is_one_line(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(PWMError, match="x.json: not valid JSON") as error:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_missing_json(tmp_path):
    with pytest.raises(PWMError, match="no such file"):
        read_json(tmp_path / "x.json")


def test_tensors_round_trip(tmp_path):
    both = torch.arange(12.0).reshape(2, 6)
    tensors = {
        "b": both[1],
        "a": both[0],
        "t": both.T,
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "whole": both,
    }
    metadata = {"config": json.dumps({"é": 1}), "name": "x"}
    write_tensors(tmp_path / "x.safetensors", tensors, metadata)
    found, found_metadata = read_tensors(tmp_path / "x.safetensors")
    assert found_metadata == metadata
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_equal_tensors_give_equal_bytes_in_every_process(tmp_path):
    # The hash order of the metadata changes from one save to the next, so a few saves are enough to see it.
    metadata = {str(i): "value" for i in range(12)}
    digests = set()
    for i in range(5):
        write_tensors(tmp_path / f"{i}", {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int8)}, metadata)
        digests.add(sha256(tmp_path / f"{i}"))
    assert len(digests) == 1


def test_every_number_format_is_read_by_the_formats_own_library(tmp_path):
    kinds = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
    tensors = {kind: torch.arange(5).to(getattr(torch, kind)) for kind in kinds}
    write_tensors(tmp_path / "x", tensors)
    found = safetensors.torch.load((tmp_path / "x").read_bytes())
    for kind, tensor in tensors.items():
        assert found[kind].dtype == tensor.dtype and torch.equal(found[kind], tensor)


def test_writing_makes_no_second_copy(tmp_path):
    tensors = {str(i): torch.ones(1 << 20) for i in range(4)}
    write_tensors(tmp_path / "x", tensors)  # imports what it needs
    tracemalloc.start()
    try:
        write_tensors(tmp_path / "x", tensors)
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    needed += peak_bytes(lambda: write_tensors(tmp_path / "x", tensors), "cpu")
    assert needed < 1 << 20 and (tmp_path / "x").stat().st_size > 16 << 20


def test_unreadable_tensors(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(PWMError, match="no such file"):
        read_tensors(path)
    write_tensors(path, {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(PWMError, match="x.safetensors: not a readable safetensors file"):
        read_tensors(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(PWMError, match="not a readable safetensors file"):
        read_tensors(path)


def test_a_flipped_bit_anywhere_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.arange(4.0), "b": torch.ones(2, dtype=torch.int8)}, {"name": "some words"})
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        if b'"sha256"' in damaged:  # else it looks like a file of pwm 0.1.0, and all the rest is as it was
            with pytest.raises(PWMError, match="x.safetensors: (wrong checksum|not a readable)"):
                read_tensors(path)


def test_a_file_without_checksum_opens(tmp_path):
    safetensors.torch.save_file({"a": torch.ones(3)}, tmp_path / "x", {"name": "old"})
    tensors, metadata = read_tensors(tmp_path / "x")
    assert tensors["a"].tolist() == [1, 1, 1] and metadata == {"name": "old"}


def test_array_and_checksum(tmp_path):
    write_array(tmp_path / "x.npy", np.arange(4))
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError):
        write_array(tmp_path / "x.npy", np.array([{}]))
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2, 3]
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
