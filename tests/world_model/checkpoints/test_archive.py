"""Hostile and damaged files: refused with one line, and nothing in them runs."""

from __future__ import annotations

import os
import pickle
import sys
import types
import zipfile

import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.world_model.checkpoints.archive import read_archive
from tests.world_model.checkpoints.published import Published


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, target) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def refused(path) -> str:
    with pytest.raises(PWMError) as error:
        read_archive(path)
    assert str(error.value).startswith(str(path))
    return str(error.value)


def test_tensors_come_out(tmp_path):
    torch.save({"a": torch.arange(3.0), "b": [1, (2.5, "x")]}, tmp_path / "x.pt")
    content = read_archive(tmp_path / "x.pt")
    assert torch.equal(content["a"], torch.arange(3.0)) and content["b"] == [1, (2.5, "x")]


@pytest.mark.parametrize("place", ["root", "value", "beside"])
def test_a_hostile_pickle_does_not_run(tmp_path, place):
    attack, target = Attack(tmp_path / "owned"), tmp_path / "owned"
    state = dict(Published("flat", 3, 24, 6).state_dict())
    content = {"root": attack, "value": {"model": state | {"_pi.0.weight": attack}}}.get(
        place, {"model": state, "optim": attack}
    )
    torch.save(content, tmp_path / "x.pt")
    line = refused(tmp_path / "x.pt")
    assert "mkdir, which data do not need; refused, and nothing in it was executed" in line and not target.exists()
    pickle.loads(pickle.dumps(attack))  # the attack is a real one
    assert target.exists()


def test_other_formats(tmp_path):
    path = tmp_path / "x.pt"
    assert "no such file" in refused(path)
    path.write_bytes(b"")
    assert "not an archive of torch.save" in refused(path)
    path.write_bytes(pickle.dumps(Attack(tmp_path / "owned")))
    assert "not an archive of torch.save" in refused(path)
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    assert "not an archive of torch.save" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"")
        archive.writestr("x/constants.pkl", b"")
    assert "TorchScript" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"no pickle")
        archive.writestr("x/version", b"3")
    assert refused(path)
    assert not (tmp_path / "owned").exists()


def test_compressed_entries(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert "its entries are compressed" in refused(tmp_path / "y.pt")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path, keep):
    torch.save(dict(Published("flat", 3, 24, 6).state_dict()), tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data[: int(keep * len(data))])
    assert "truncated" in refused(tmp_path / "x.pt")


def test_objects_of_pwms_training_code(tmp_path, monkeypatch):
    """A running mean beside the model is passed over; the same object under another name is refused."""
    state = dict(Published("flat", 3, 24, 6).state_dict())

    class RunningMeanStd:
        def __init__(self) -> None:
            self.mean, self.count, self.device = torch.zeros(3), 1e-4, torch.device("cpu")

    RunningMeanStd.__qualname__ = "RunningMeanStd"
    for module in ("pwm.utils.running_mean_std", "pwm.utils.other"):
        RunningMeanStd.__module__ = module
        with monkeypatch.context() as patch:
            for name in ("pwm.utils", module):
                patch.setitem(sys.modules, name, types.ModuleType(name))
            sys.modules[module].RunningMeanStd = RunningMeanStd
            torch.save({"world_model": state, "ret_rms": RunningMeanStd()}, tmp_path / f"{module}.pt")
    content = read_archive(tmp_path / "pwm.utils.running_mean_std.pt")
    assert set(content) == set(state) and all(torch.equal(content[name], value) for name, value in state.items())
    assert "asks for pwm.utils.other.RunningMeanStd" in refused(tmp_path / "pwm.utils.other.pt")


def test_a_model_saved_as_a_tensordict(tmp_path):
    tensordict = pytest.importorskip("tensordict")
    state = dict(Published("named", 3, 24, 6).state_dict())
    torch.save(tensordict.TensorDict(state, []), tmp_path / "x.pt")
    content = read_archive(tmp_path / "x.pt")
    assert set(content) == set(state) and all(torch.equal(content[name], value) for name, value in state.items())
