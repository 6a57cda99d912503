"""TD-MPC2's chunks into a store: row order, padding, tasks, and what is refused."""

import numpy as np
import pytest

from pwm.data.store import open_store
from pwm.data.tdmpc2 import import_tdmpc2
from pwm.data.tensor_file import StoredTensor
from pwm.runtime.errors import PWMError
from pwm.tasks import registry
from tests.data.chunks import ROWS, SPECS, chunk, write_chunk


@pytest.fixture(autouse=True)
def small_set(monkeypatch):
    registry.list_tasks()
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {spec.id: spec for spec in SPECS})
    monkeypatch.setattr(registry, "_sets", registry._sets | {"small": tuple(spec.id for spec in SPECS)})


@pytest.fixture
def files(tmp_path):
    """Two chunks; their tasks are mixed."""
    folder = tmp_path / "chunks"
    folder.mkdir()
    kinds = {10: [0, 2, 2, 0, 1], 2: [1, 0, 0, 2]}
    data = {n: chunk(tasks, seed=n) for n, tasks in kinds.items()}
    for n in kinds:
        write_chunk(folder / f"chunk_{n}.pt", data[n])
    return folder, data


def test_rows_are_shifted_and_padding_is_cut(tmp_path, files):
    folder, data = files
    done = import_tdmpc2([folder], tmp_path / "s", "small", quality="mixed")
    assert done.episodes == {"slim": 4, "mid": 2, "full": 3} and done.skipped == 0
    store = open_store(tmp_path / "s", verify=True)
    assert store.tasks == ("slim", "mid", "full")
    for k, spec in enumerate(SPECS):
        task, e = store[spec.id], 0
        for n in (2, 10):  # by number, not by name
            for i in np.nonzero(data[n]["task"][:, 0] == k)[0]:
                first = task.offsets[e]
                rows = slice(first, first + ROWS - 1)
                observations = task.observations[first + e : first + e + ROWS]
                assert np.array_equal(observations, data[n]["obs"][i, :, : spec.observation_dim])
                assert np.array_equal(task.actions[rows], data[n]["action"][i, 1:, : spec.action_dim])
                assert np.array_equal(task.rewards[rows], data[n]["reward"][i, 1:])
                e += 1
        assert len(task.lengths) == e and not task.terminations.any()
        assert (task.episode_length, task.action_repeat) == (4, 2)
        assert set(store.quality(spec.id)) == {"mixed"}


def test_garbage_in_row_0_does_not_matter(tmp_path, files):
    folder, data = files
    import_tdmpc2([folder], tmp_path / "a", "small")
    for n, garbage in ((2, 7e33), (10, -np.inf)):
        data[n]["action"][:, 0], data[n]["reward"][:, 0] = garbage, garbage
        write_chunk(folder / f"chunk_{n}.pt", data[n])
    import_tdmpc2([folder], tmp_path / "b", "small")
    assert open_store(tmp_path / "a").fingerprint() == open_store(tmp_path / "b").fingerprint()


def test_a_subset_reads_what_it_must(tmp_path, files, monkeypatch):
    folder, _ = files
    read = []
    rows = StoredTensor.rows

    def counting(self, first, last):
        read.append((last - first) * self.row_bytes)
        return rows(self, first, last)

    monkeypatch.setattr(StoredTensor, "rows", counting)
    import_tdmpc2([folder], tmp_path / "s", "small", tasks=["mid"])
    assert open_store(tmp_path / "s", verify=True).tasks == ("mid",)
    episode = ROWS * (5 + 3 + 1) * 4
    assert sum(read) == 9 * ROWS * 4 + 2 * episode  # all task numbers, and the two episodes of that task


def test_blocks_do_not_change_the_result(tmp_path, files, monkeypatch):
    folder, _ = files
    import_tdmpc2([folder], tmp_path / "a", "small", tasks=["full", "slim"])
    monkeypatch.setattr("pwm.data.tdmpc2._BLOCK", 1)
    import_tdmpc2([folder], tmp_path / "b", "small", tasks=["slim", "full"])
    assert open_store(tmp_path / "a").fingerprint() == open_store(tmp_path / "b").fingerprint()


def refused(tmp_path, message, *paths, **options):
    with pytest.raises(PWMError, match=message):
        import_tdmpc2(paths, tmp_path / "s", **{"set_name": "small", **options})
    with pytest.raises(PWMError, match="no episode store here"):
        open_store(tmp_path / "s")


def test_wrong_input(tmp_path, files):
    folder, data = files
    path = folder / "chunk_2.pt"
    refused(tmp_path, "task other: not in this task set, which has slim, mid, full", folder, tasks=["other"])
    refused(tmp_path, "unknown task set 'big'", folder, set_name="big")
    refused(tmp_path, "5 rows and 5 observations fit no known set .*; add --task-set", folder, set_name=None)
    refused(tmp_path, "holds no chunk_", tmp_path)
    refused(tmp_path, "each once", path, path)
    refused(tmp_path, "no such file", tmp_path / "chunk_3.pt")
    other = {name: array[:, :4] for name, array in chunk([0]).items()}
    write_chunk(tmp_path / "x.pt", {name: np.ascontiguousarray(array) for name, array in other.items()})
    refused(tmp_path, "x.pt: other sizes than", folder, tmp_path / "x.pt")
    write_chunk(path, {name: np.concatenate([array, array], 1) for name, array in data[2].items()})
    refused(tmp_path, "episodes have 9 steps, but slim of small has at most 4", path)
    write_chunk(path, data[2] | {"obs": np.ascontiguousarray(data[2]["obs"][..., :4])})
    refused(tmp_path, "holds 4 observations and 3 actions, but full of small has 5 and 3", path)
    write_chunk(path, data[2] | {"task": data[2]["task"].astype(np.float32)})
    refused(tmp_path, "task float32; need whole numbers for task", path)
    write_chunk(path, data[2] | {"reward": np.ascontiguousarray(data[2]["reward"][:3])})
    refused(tmp_path, r"reward \[3, 5\].*; need obs \[n, T, O\]", path)
    for value in (3, -1):
        changed = data[2]["task"].copy()
        changed[1, 2] = value
        write_chunk(path, data[2] | {"task": changed})
        refused(tmp_path, f"episode 1 has task .*{value}.*, need a number from 0 to 2", path)
    write_chunk(path, chunk([0, 0]))
    refused(tmp_path, "no episode of task full in these 1 file", path, tasks=["full"])


def test_padding_that_is_not_zero(tmp_path, files):
    folder, data = files
    data[2]["obs"][1, 3, 4] = 1.0  # an episode of slim, which has two
    write_chunk(folder / "chunk_2.pt", data[2])
    refused(tmp_path, "chunk_2.pt, episode 1: slim has 2 observations, but the entries beyond are not zero", folder)
    assert sum(import_tdmpc2([folder], tmp_path / "s", "small", any_padding=True).episodes.values()) == 9


def test_damaged_episodes_are_named_or_skipped(tmp_path, files):
    folder, data = files
    data[10]["reward"][3, 2], data[10]["action"][4, 1, 0] = np.nan, 1.5
    write_chunk(folder / "chunk_10.pt", data[10])
    refused(tmp_path, r"chunk_10.pt, episode 3 \(.*rewards: NaN or infinity at step 1.*or add --skip-damaged", folder)
    done = import_tdmpc2([folder], tmp_path / "s", "small", skip_damaged=True)
    assert done.episodes == {"slim": 3, "mid": 1, "full": 3} and done.skipped == 2
    assert len(open_store(tmp_path / "s", verify=True)["mid"].lengths) == 1


def test_no_room_is_said_before_anything_is_written(tmp_path, files, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    refused(tmp_path, "needs .* GB, but .* are free; make room", files[0])
    assert not (tmp_path / "s").exists()
