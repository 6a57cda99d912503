"""One writer at a time: real processes, one of them killed."""

import os
import subprocess
import sys
import time

import pytest

from pwm.data.store import open_store
from pwm.data.writer import StoreWriter
from pwm.runtime.errors import PWMError
from pwm.runtime.lock import LOCK, FolderLock, alone, alone_in

HOLD = """
import sys, time
from pwm.runtime.lock import FolderLock
lock = FolderLock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_by_name_until_the_first_is_killed(other, tmp_path):
    started = time.strftime("%Y-%m-%d", time.gmtime())
    with pytest.raises(PWMError, match=rf"a: process {other.pid} on .+, since {started} .* is writing to it"):
        FolderLock(tmp_path / "a")
    with pytest.raises(PWMError, match="is writing to it"):
        StoreWriter(tmp_path / "a")
    with pytest.raises(PWMError, match="is writing to it"), alone_in(tmp_path / "a"):
        pass
    other.kill()
    other.wait()
    assert (tmp_path / "a" / LOCK).exists()  # of a dead process
    FolderLock(tmp_path / "a").release()
    assert not (tmp_path / "a").exists() or not list((tmp_path / "a").iterdir())


def test_a_writer_that_is_refused_leaves_the_first_ones_files(tmp_path):
    ones = [[[1.0]] * 3, [[0.0]] * 2, [1.0] * 2]
    with StoreWriter(tmp_path / "s") as first:
        first.add_task("t", 1, 1, 2, 1)
        first.add_episode("t", *ones)
        with pytest.raises(PWMError, match="is writing to it"):
            StoreWriter(tmp_path / "s")
        first.add_episode("t", *ones)
    assert len(open_store(tmp_path / "s", verify=True)["t"].lengths) == 2
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["manifest.json", "t"]
    with pytest.raises(PWMError, match="already holds an episode store"):
        StoreWriter(tmp_path / "s")
    assert not (tmp_path / "s" / LOCK).exists()


def test_a_store_that_is_given_up_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), StoreWriter(tmp_path / "new" / "s") as writer:
        writer.add_task("t", 1, 1, 2, 1)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_calls_within_a_call_share_the_lock(tmp_path):
    @alone("out", "model")
    def inner(model, out=None):
        assert (tmp_path / "run" / LOCK).exists()
        return "done"

    with alone_in(tmp_path / "run"):
        assert inner(tmp_path / "run") == inner(3, out=str(tmp_path / "run")) == "done"
        assert (tmp_path / "run" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_run_is_not_made(tmp_path):
    alone("run", make=False)(lambda run: run)(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [FolderLock, StoreWriter])
def test_temporary_files_of_killed_commands_are_removed(tmp_path, kind):
    run = tmp_path / "run"
    (run / "policies").mkdir(parents=True)
    for name in (".run.json.0a1b2c3d.tmp", "policies/.seed0.safetensors.01234567.tmp", "mine.tmp", ".notes.tmp"):
        (run / name).write_bytes(b"half")
    kind(run)
    assert sorted(p.name for p in run.rglob("*.tmp")) == [".notes.tmp", "mine.tmp"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PWMError, match="cannot write"):
        FolderLock(tmp_path)
