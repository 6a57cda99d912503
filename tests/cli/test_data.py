"""`pwm data`: every command from the outside, with its exit codes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pwm.cli.data as module
from pwm.data.store import open_store
from pwm.tasks import registry
from tests.data.chunks import SPECS, chunk, write_chunk

SOURCE = Path(module.__file__).resolve().parents[2]


@pytest.fixture
def chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {spec.id: spec for spec in SPECS})
    monkeypatch.setattr(registry, "_sets", registry._sets | {"small": tuple(spec.id for spec in SPECS)})
    (tmp_path / "chunks").mkdir()
    write_chunk(tmp_path / "chunks" / "chunk_0.pt", chunk([0, 1, 1, 2]))
    return tmp_path / "chunks"


def done(outcome):
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return outcome.out


def refused(outcome):
    assert outcome.code == 2 and outcome.err.count("\n") == 1, outcome
    return outcome.err


@pytest.mark.parametrize("name", module.COMMANDS)
def test_every_command_teaches(pwm, name):
    text = done(pwm("data", *name.split(), "--help"))
    assert text.startswith(f"usage: pwm data {name}") and len(text) > 300
    assert f"  {name} " in done(pwm("data"))


def test_half_a_command_shows_its_halves(pwm):
    text = done(pwm("data", "import"))
    assert "import npz" in text and "  merge " not in text
    assert "data inspct: no such command; did you mean inspect?" in refused(pwm("data", "inspct"))
    assert "data import hdf5: no such command" in refused(pwm("data", "import", "hdf5"))


def test_from_chunks_to_a_subset(pwm, chunks):
    arguments = ("data", "import", "tdmpc2", chunks, "--out", "a", "--task-set", "small", "--quality", "expert")
    assert "4 episodes of 3 tasks in a." in done(pwm(*arguments))
    done(pwm("data", "import", "tdmpc2", chunks / "chunk_0.pt", "--out", "b", "--task-set", "small", "--tasks", "mid"))
    done(pwm("data", "merge", "a", "b", "--out", "c"))
    text = done(pwm("data", "inspect", "c"))
    assert "3 tasks, 6 episodes, 24 steps" in text and "expert 2" in text and "no tag 2" in text
    assert "3 tasks are whole" in done(pwm("data", "validate", "c"))
    arguments = ("data", "subset", "c", "--tasks", "mid", "--quality", "expert", "--episodes", "1", "--out", "d")
    assert "1 of 4 episodes in d" in done(pwm(*arguments))
    store = open_store("d", verify=True)
    assert store.tasks == ("mid",) and store.quality("mid").tolist() == ["expert"]


def test_wrong_input(pwm, chunks, tmp_path, store):
    start = ("data", "import", "tdmpc2")
    assert "no such file" in refused(pwm(*start, "none.pt", "--out", "x", "--task-set", "small"))
    assert "add --task-set" in refused(pwm(*start, chunks, "--out", "x"))
    Path("junk.pt").write_bytes(b"junk" * 100)
    assert "not an archive of tensors" in refused(pwm(*start, "junk.pt", "--out", "x", "--task-set", "small"))
    assert "already holds an episode store" in refused(pwm(*start, chunks, "--out", store, "--task-set", "small"))
    assert "name two stores or more" in refused(pwm("data", "merge", store, "--out", "x"))
    assert "no episode store here" in refused(pwm("data", "inspect", "nowhere"))
    assert "no episode has quality 'best'" in refused(pwm("data", "subset", store, "--quality", "best", "--out", "x"))
    assert "names 2 tasks for 1 files" in refused(
        pwm("data", "import", "npz", "a.npz", "--tasks", "a", "b", "--out", "x")
    )
    assert "a.npz: no such file" in refused(pwm("data", "import", "npz", "a.npz", "--out", "x"))
    assert not Path("x").exists()


def test_validate_lists_what_is_wrong(pwm, store):
    path = store / "toy-b" / "rewards.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    outcome = pwm("data", "validate", store)
    assert "1 problem(s), see above" in refused(outcome) and "toy-b/rewards.npy: wrong checksum" in outcome.out


def test_a_flipped_bit_is_not_copied_into_a_new_store(pwm, store):
    path = store / "toy-b" / "rewards.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x01
    path.write_bytes(bytes(data))
    for command in (("merge", store, store), ("subset", store)):
        assert "toy-b/rewards.npy: wrong checksum" in refused(pwm("data", *command, "--out", "x"))
        assert not Path("x").exists()


def test_a_killed_import_leaves_no_store_and_starts_over(tmp_path, pwm):
    random = np.random.default_rng(0)
    shape = (400, 101)
    arrays = {
        "observations": random.normal(size=(*shape, 24)),
        "actions": np.zeros((400, 100, 6)),
        "rewards": np.zeros((400, 100)),
    }
    np.savez("big.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})
    command = [sys.executable, "-m", "pwm", "data", "import", "npz", "big.npz", "--out", "s"]
    child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(SOURCE)}, stdout=subprocess.DEVNULL)
    target = tmp_path / "s" / "big" / "observations.npy"
    while child.poll() is None and not (target.exists() and target.stat().st_size > 4096):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert "no episode store here" in refused(pwm("data", "inspect", "s"))
    done(pwm("data", "import", "npz", "big.npz", "--out", "s"))
    assert np.array_equal(
        open_store("s", verify=True)["big"].observations, np.load("big.npz")["observations"].reshape(-1, 24)
    )
