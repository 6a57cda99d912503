"""What `pwm data inspect` and `validate` say about a store."""

import json

import numpy as np
import pytest

from pwm.data.manifest import read_manifest
from pwm.data.store import open_store, sample_store_path
from pwm.data.summary import bars, summarise
from pwm.data.summary import check_task as check_task_of
from pwm.data.summary import strays as strays_of
from pwm.runtime.errors import PWMError
from pwm.runtime.files import sha256
from pwm.tasks import registry
from pwm.tasks.spec import TaskSpec
from tests.data.test_edit import write


def check_task(path, task):
    return check_task_of(path, read_manifest(path), task)


def strays(path):
    return strays_of(path, read_manifest(path))


def test_summary(tmp_path):
    store = write(tmp_path / "s")
    first, second = summarise(store)
    assert (first.id, second.id, first.observation_dim, first.action_dim) == ("a", "b", 2, 1)
    assert first.lengths.tolist() == [3, 4, 5, 6] * 2 and first.transitions == 36
    np.testing.assert_allclose(first.returns, range(8), rtol=1e-6)
    assert first.histogram().sum() == 8 and first.histogram()[0] == 1
    assert first.qualities == {"": 2, "expert": 2, "medium": 2, "random": 2}
    assert first.size == sum(path.stat().st_size for path in (tmp_path / "s" / "a").iterdir())


def test_bars():
    assert bars(np.array([0, 1, 1000, 500])) == " ▁█▄" and bars(np.zeros(2, int)) == "  "


def test_the_sample_and_a_new_store_are_whole(tmp_path):
    for path, tasks in ((sample_store_path(), open_store(sample_store_path()).tasks), (tmp_path / "s", ("a", "b"))):
        if path == tmp_path / "s":
            write(path)
        assert [check_task(path, task) for task in tasks] == [[] for _ in tasks]
        assert strays(path) == []


def forge(folder, task, name, change):
    """Change an array and the manifest's checksum with it."""
    path = folder / task / f"{name}.npy"
    array = np.load(path)
    change(array)
    np.save(path, array)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["tasks"]:
        if entry["id"] == task:
            entry["files"][path.name]["sha256"] = sha256(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_problems_are_found(tmp_path, monkeypatch):
    folder = tmp_path / "s"
    write(folder)
    forge(folder, "b", "actions", lambda a: a.__setitem__((5, 0), -1.1))
    forge(folder, "b", "rewards", lambda a: a.__setitem__(35, 9.0))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tasks"][1]["episode_length"] = 5
    (folder / "manifest.json").write_text(json.dumps(manifest))
    registry.list_tasks()
    spec = TaskSpec("b", 3, 1, 6, 2, "return", make=lambda **_: None)
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {"b": spec})
    found = check_task(folder, "b")
    assert [sum(text in line for line in found) for text in ("episode 1: an action is outside", "returns.mean")] == [
        1,
        1,
    ]
    assert any("an episode has 6 steps, more than 5" in line for line in found)
    assert any("observation_dim is 2, the task itself has 3" in line for line in found)
    assert check_task(folder, "a") == []
    (folder / "a" / "rewards.npy").write_bytes(b"x")
    assert ["not a readable .npy file" in line for line in check_task(folder, "a")] == [True]
    (folder / "old").mkdir()
    np.save(folder / "old" / "rewards.npy", np.zeros(2))
    assert strays(folder) == ["old/rewards.npy"]
    with pytest.raises(PWMError, match="no task 'z'"):
        check_task(folder, "z")
