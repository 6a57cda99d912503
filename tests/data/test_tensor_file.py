"""The reader of torch.save files: what it reads is right, and what is hostile is refused before anything runs."""

import os
import pickle
import sys
import zipfile

import numpy as np
import pytest

from pwm.data.tensor_file import TensorFile
from pwm.runtime.errors import PWMError
from tests.data.chunks import chunk, number, old_layout, tensor, text, truncated, write_archive, write_chunk

NAMES = ("obs", "action", "reward", "task")


def read(path):
    with TensorFile(path) as file:
        return {name: t.rows(0, t.shape[0]) for name, t in file.fields(NAMES).items()}


def equal(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array, equal_nan=True), name


def test_reads_what_tensordict_writes(tmp_path):
    torch, tensordict = pytest.importorskip("torch"), pytest.importorskip("tensordict")
    data = chunk([0, 2, 1, 1])
    tensors = {name: torch.from_numpy(array) for name, array in data.items()}
    written = tensordict.TensorDict(tensors, batch_size=data["task"].shape)
    torch.save(written, tmp_path / "a.pt")
    equal(read(tmp_path / "a.pt"), data)
    torch.save({"meta": {"obs": tensors["obs"]}, "buffer": [written.to_dict()]}, tmp_path / "b.pt", pickle_protocol=4)
    equal(read(tmp_path / "b.pt"), data)
    torch.save(tensordict.stack([written[i] for i in range(4)]), tmp_path / "c.pt")
    equal(read(tmp_path / "c.pt"), data)


def test_reads_the_layout_of_old_versions(tmp_path):
    data = chunk([0, 2, 1])
    path = write_chunk(tmp_path / "a.pt", data)
    equal(read(path), data)
    with TensorFile(path) as file:
        assert np.array_equal(file.fields(NAMES)["obs"].rows(1, 2), data["obs"][1:2])


def test_views_inside_a_storage(tmp_path):
    torch = pytest.importorskip("torch")
    whole = {name: torch.from_numpy(array) for name, array in chunk([0, 2, 1, 0]).items()}
    torch.save({name: tensor[1:3] for name, tensor in whole.items()}, tmp_path / "a.pt")
    equal(read(tmp_path / "a.pt"), {name: tensor[1:3].numpy() for name, tensor in whole.items()})
    torch.save({name: tensor.transpose(0, 1) for name, tensor in whole.items()}, tmp_path / "b.pt")
    refused(tmp_path / "b.pt", r"not in C order; save it again after .contiguous\(\)")


def refused(path, message):
    with pytest.raises(PWMError, match=message) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


class Calls:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks():
    """(name, pickle program); each would leave a file called HIT, or has side effects that the test sees."""
    touch = "touch HIT"
    shapes = {
        "os.system": Calls(os.system, touch),
        "nested": {"obs": [({"deep": (1, [Calls(os.system, touch)])},)]},
        "exec": Calls(exec, "open('HIT', 'w')"),
        "eval": Calls(eval, "open('HIT', 'w')"),
        "getattr": Calls(getattr, dict, "fromkeys"),
        "import": Calls(__import__, "antigravity"),
        "open": Calls(open, "HIT", "w"),
        "bytearray": Calls(bytearray, 1 << 40),
    }
    for protocol in (2, 4):
        for name, shape in shapes.items():
            yield f"{name}-{protocol}", pickle.dumps(shape, protocol)
    shell = text("touch HIT") + b"\x85R."
    yield "posix", b"\x80\x02cposix\nsystem\n" + shell
    yield "dotted name", b"\x80\x04" + b"\x8c\x0btorch._utils\x8c\x12_rebuild.__globals__\x93" + shell
    yield "dotted stand-in", b"\x80\x04" + b"\x8c\x0bcollections\x8c\x16OrderedDict.__init__.x\x93" + shell
    yield "torch.load", b"\x80\x02ctorch\nload\n" + shell
    yield "torch.hub", b"\x80\x02ctorch.hub\nload\n" + shell
    yield "numpy", b"\x80\x02cnumpy\nload\n" + shell
    yield "old INST", b"(" + b"S'touch HIT'\nios\nsystem\n."
    yield "OBJ", b"\x80\x02(cos\nsystem\n" + text("touch HIT") + b"o."
    yield "EXT", b"\x80\x02\x82\x01" + text("touch HIT") + b"\x85R."
    yield "text reference", b"Pstorage\n."
    yield "call of a tensordict name", b"\x80\x02ctensordict.os\nsystem\n" + shell


@pytest.mark.parametrize(("name", "program"), list(attacks()), ids=lambda x: x if isinstance(x, str) else "")
def test_hostile_pickles_run_nothing(tmp_path, monkeypatch, name, program):
    monkeypatch.chdir(tmp_path)
    data = chunk([0, 1])
    path = write_archive(tmp_path / "a.pt", program, list(data.values()))
    before = set(sys.modules)
    refused(path, "refused|damaged|needs the tensors")
    assert not (tmp_path / "HIT").exists() and "antigravity" not in set(sys.modules) - before
    # The same code hidden beside good data: what is in the dictionary is evaluated before the data are reached.
    inner = program.removeprefix(b"\x80\x02").removeprefix(b"\x80\x04").removesuffix(b".")
    good = old_layout(data).removeprefix(b"\x80\x02").removesuffix(b".")
    both = b"\x80\x04(" + good + inner + b"t."
    write_archive(path, both, list(data.values()))
    if name != "call of a tensordict name":  # which is inert, so the data beside it are fine
        refused(path, "refused|damaged")
    assert not (tmp_path / "HIT").exists()


def test_the_attacks_are_real(tmp_path, monkeypatch):
    """With pickle itself the first of them leaves its mark; so its absence above means something."""
    monkeypatch.chdir(tmp_path)
    for program in (
        pickle.dumps(Calls(os.system, "touch HIT"), 2),
        dict(attacks())["old INST"],
        dict(attacks())["OBJ"],
    ):
        pickle.loads(program)
        assert (tmp_path / "HIT").exists()
        (tmp_path / "HIT").unlink()


def test_state_cannot_change_what_tensors_are(tmp_path):
    data = chunk([0, 1])
    changed = tensor("0", data["obs"]) + b"}" + text("start") + number(0) + b"sb"
    path = write_archive(tmp_path / "a.pt", b"\x80\x02" + changed + b".", list(data.values()))
    refused(path, "wants to change what it may only hold")


def persistent(pid: bytes) -> bytes:
    return b"\x80\x02" + pid + b"Q."


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (persistent(text("storage")), "unknown way"),
        (persistent(b"(" + text("module") + number(0) * 4 + b"t"), "unknown way"),
        (persistent(b"(" + text("storage") + text("os") + text("0") + text("cpu") + number(1) + b"t"), "unknown way"),
        (
            persistent(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("../x") + text("") + number(1) + b"t"),
            "x",
        ),
        (
            persistent(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + number(0) + text("") + number(1) + b"t"),
            "hold",
        ),
        (
            persistent(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("") + number(9**9) + b"t"),
            "storage 0 is shorter than described",
        ),
        (
            persistent(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("") + number(-1) + b"t"),
            "refers to storage 0",
        ),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + number(1) * 4 + b"tR.", "tensor in an unknown way"),
        (b"\x80\x02r\xff\xff\xff\xff.", "damaged|far beyond"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "numbers its parts far beyond"),
        (b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f.", "damaged|BYTEARRAY8"),
        (b"\x80\x05\x96" + (4).to_bytes(8, "little") + b"abcd.", "uses the pickle instruction BYTEARRAY8"),
        (b"\x80\x02\x82\x01.", "uses the pickle instruction EXT1"),
        (b"\x80\x02" + b"(" * 1000, "damaged"),
        (b"", "damaged"),
        (b"\x80\x02}.", "needs the tensors obs, action, reward, task side by side; it has none"),
    ],
)
def test_odd_references_and_damaged_programs(tmp_path, program, message):
    refused(write_archive(tmp_path / "a.pt", program, list(chunk([0, 1]).values())), message)


def test_tensors_stay_inside_their_storage(tmp_path):
    data = chunk([0, 1])
    larger = data["obs"].repeat(2, 0)
    program = b"\x80\x02" + tensor("0", larger).replace(number(larger.size) + b"tQ", number(data["obs"].size) + b"tQ")
    refused(write_archive(tmp_path / "a.pt", program + b".", [data["obs"]]), "larger than its storage")
    negative = tensor("0", data["obs"]).replace(b"Q" + number(0), b"Q" + number(-4))
    refused(write_archive(tmp_path / "a.pt", b"\x80\x02" + negative + b".", [data["obs"]]), "make no sense")


def test_bombs_and_truncated_files(tmp_path):
    data = chunk([0, 1])
    path = write_archive(tmp_path / "a.pt", old_layout(data), list(data.values()), zipfile.ZIP_DEFLATED)
    refused(path, "is compressed, which torch.save never does; refused")
    zeros = [np.zeros(50_000_000, np.float32), *list(data.values())[1:]]
    path = write_archive(tmp_path / "a.pt", old_layout(data), zeros, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    refused(path, "is compressed")
    path = write_archive(tmp_path / "b.pt", b"\x80\x02" + b"N" * (17 << 20) + b".")
    refused(path, "data.pkl has .* bytes, more than")
    size = write_chunk(path, data).stat().st_size
    for keep in (0, 3, 30, 100, size // 2, size - 1, size - 30):
        refused(truncated(write_chunk(path, data), keep), "not an archive of tensors|truncated|not where")
    refused(tmp_path, "cannot read")
    refused(tmp_path / "missing.pt", "no such file")


def test_a_file_cut_while_it_is_read(tmp_path):
    path = write_chunk(tmp_path / "a.pt", chunk([0, 1]))
    with TensorFile(path) as file:
        tensor = file.fields(NAMES)["task"]
        truncated(path, 700)
        with pytest.raises(PWMError, match="ends before its tensors do"):
            tensor.rows(0, 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_flip_of_a_byte_reads_or_is_refused(tmp_path):
    """No damage to the description ends in anything but data or a PWMError."""
    data = chunk([0, 1])
    program, path = old_layout(data), tmp_path / "a.pt"
    random = np.random.default_rng(0)
    for position in range(len(program)):
        damaged = bytearray(program)
        damaged[position] ^= int(random.integers(1, 256))
        write_archive(path, bytes(damaged), list(data.values()))
        try:
            read(path)
        except PWMError:
            continue
