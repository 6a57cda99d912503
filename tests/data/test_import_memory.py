"""A chunk of 2 GB is imported in little memory: python -m pytest -m slow -s tests/data/test_import_memory.py"""

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pwm.data.tdmpc2 as module
from pwm.data.store import open_store
from pwm.tasks.registry import task_set
from tests.data.chunks import number, tensor, text

SOURCE = Path(module.__file__).resolve().parents[2]
EPISODES, ROWS, WIDTHS = 31_200, 501, (24, 6)  # the sizes of MT30; 64,128 bytes per episode
BLOCK = 400


def blocks(name: str):
    """The numbers of one tensor, a block of episodes at a time; tasks go round."""
    random = np.random.default_rng(0)
    specs = task_set("mt30")
    for first in range(0, EPISODES, BLOCK):
        tasks = np.arange(first, first + BLOCK) % len(specs)
        if name == "task":
            yield np.repeat(tasks[:, None].astype(np.int32), ROWS, 1)
            continue
        shape = {"obs": (BLOCK, ROWS, WIDTHS[0]), "action": (BLOCK, ROWS, WIDTHS[1]), "reward": (BLOCK, ROWS)}[name]
        block = random.random(shape, np.float32)
        for i, k in enumerate(tasks if name == "obs" else ()):
            block[i, :, specs[k].observation_dim :] = 0
        if name != "obs":
            block[:, 0] = np.nan
        yield block


def write(path: Path) -> None:
    shapes = {"obs": (ROWS, WIDTHS[0]), "action": (ROWS, WIDTHS[1]), "reward": (ROWS,), "task": (ROWS,)}
    program = (
        b"\x80\x02ctensordict._reductions\n_make_td\n(ctensordict._td\nTensorDict\n}" + text("_tensordict") + b"}("
    )
    for i, (name, shape) in enumerate(shapes.items()):
        dtype = np.int32 if name == "task" else np.float32
        like = np.lib.stride_tricks.as_strided(np.zeros(1, dtype), (EPISODES, *shape), (0,) * (len(shape) + 1))
        steps = np.cumprod((1, *reversed(shape)))[::-1]
        program += text(name) + tensor(str(i), like, tuple(int(x) for x in steps))
    program += b"us" + text("_batch_size") + b"ctorch\nSize\n(" + number(EPISODES) + number(ROWS) + b"t\x85Rs" + b"tR."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("chunk_0/data.pkl", program)
        archive.writestr("chunk_0/byteorder", b"little")
        for i, name in enumerate(shapes):
            with archive.open(f"chunk_0/data/{i}", "w", force_zip64=True) as file:
                for block in blocks(name):
                    file.write(block.tobytes())


def run(*arguments: str) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of one command."""
    begin = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-m", "pwm", *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_maxrss / 1000 * (1.024 if sys.platform == "linux" else 1e-3), time.perf_counter() - begin


@pytest.mark.slow
def test_a_chunk_of_2_gb_is_imported_in_little_memory(tmp_path):
    path = tmp_path / "chunk_0.pt"
    write(path)
    assert path.stat().st_size > 2_000_000_000
    for name, tasks in (("all", ()), ("one", ("--tasks", "walker-walk"))):
        memory, seconds = run("data", "import", "tdmpc2", str(path), "--out", str(tmp_path / name), *tasks)
        print(f"\n{name}: {memory:.0f} MB resident at most, {seconds:.1f} s")
        assert memory < 300
    memory, seconds = run("data", "validate", str(tmp_path / "all"))
    print(f"\nvalidate: {memory:.0f} MB resident at most, {seconds:.1f} s")
    store = open_store(tmp_path / "all")
    assert len(store.tasks) == 30 and sum(len(store[task].rewards) for task in store.tasks) == EPISODES * (ROWS - 1)
    k = store.tasks.index("walker-walk")
    first = next(blocks("obs"))[k]
    assert np.array_equal(store["walker-walk"].observations[:ROWS], first[:, : store["walker-walk"].observation_dim])
    one = open_store(tmp_path / "one")
    assert np.array_equal(one["walker-walk"].rewards, store["walker-walk"].rewards)
