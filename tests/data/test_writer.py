import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pwm.data.store import open_store
from pwm.data.writer import StoreWriter, WrongEpisode
from pwm.runtime.errors import PWMError


def episode(steps=3, seed=0):
    random = np.random.default_rng(seed)
    return {
        "observations": random.normal(size=(steps + 1, 2)).astype(np.float32),
        "actions": random.uniform(-1, 1, size=(steps, 1)).astype(np.float32),
        "rewards": random.normal(size=steps).astype(np.float32),
    }


def test_what_was_written_is_read(tmp_path):
    episodes = [episode(3, 0), episode(1, 1), episode(7, 2)]
    with StoreWriter(tmp_path) as writer:
        writer.add_task("a", 2, 1, 7, 2, source="test")
        for one in episodes:
            writer.add_episode("a", **one, terminations=np.arange(len(one["rewards"])) == 6)
    store = open_store(tmp_path, verify=True)
    for name in ("observations", "actions", "rewards"):
        assert np.array_equal(getattr(store["a"], name), np.concatenate([one[name] for one in episodes])), name
    assert store["a"].terminations.tolist() == [False] * 10 + [True]
    entry = store.manifest.tasks[0]
    assert (entry.episodes, entry.transitions, entry.source) == (3, 11, "test")
    assert entry.returns.mean == pytest.approx(np.mean([one["rewards"].sum() for one in episodes]), rel=1e-5)


def test_ten_best_are_the_best(tmp_path):
    with StoreWriter(tmp_path) as writer:
        writer.add_task("a", 2, 1, 5, 2)
        for i in range(15):
            writer.add_episode("a", np.zeros((2, 2)), np.zeros((1, 1)), [float(i * 4 % 15)])
    assert open_store(tmp_path).manifest.tasks[0].returns.best10_mean == pytest.approx(np.arange(5, 15).mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": np.zeros((3, 2))}, r"task a, episode 1, observations: shape is \[3, 2\], must be \[4, 2\]"),
        ({"actions": np.zeros((3, 2))}, r"task a, episode 1, actions: shape is \[3, 2\], must be \[3, 1\]"),
        ({"rewards": np.zeros(0)}, "task a, episode 1: has 0 rewards, must have 1 to 5"),
        ({"rewards": np.zeros(6)}, "task a, episode 1: has 6 rewards"),
        ({"rewards": np.zeros((3, 1))}, "rewards: shape is"),
        ({"rewards": np.array([0, np.nan, 0])}, "task a, episode 1, rewards: NaN or infinity at step 1"),
        ({"actions": np.array([[0], [0], [np.inf]])}, "task a, episode 1, actions: NaN or infinity at step 2"),
        ({"actions": np.array([[0], [1], [-1.01]])}, r"episode 1, actions: 1.01 at step 2 is outside \[-1, 1\]; scale"),
        ({"terminations": np.zeros(3)}, "task a, episode 1, terminations: dtype is float64, must be bool"),
        ({"terminations": np.ones(3, bool)}, "terminations: terminates before its last step"),
    ],
)
def test_refused_episode_leaves_no_trace(tmp_path, change, message):
    with StoreWriter(tmp_path) as writer:
        writer.add_task("a", 2, 1, 5, 2)
        writer.add_episode("a", **episode(3, 0))
        with pytest.raises(PWMError, match=message):
            writer.add_episode("a", **{**episode(3, 1), **change})
        writer.add_episode("a", **episode(3, 2))
    rewards = open_store(tmp_path, verify=True)["a"].rewards
    assert np.array_equal(rewards, np.concatenate([episode(3, 0)["rewards"], episode(3, 2)["rewards"]]))


def test_exception_leaves_no_store_and_no_files(tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s") as writer:
        writer.add_task("a", 2, 1, 5, 2)
        writer.add_episode("a", **episode())
        raise KeyboardInterrupt
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


def test_killed_writer_leaves_no_store_and_a_second_try_works(tmp_path):
    script = (
        "import os, signal, sys, numpy as np\n"
        "from pwm.data.writer import StoreWriter\n"
        "writer = StoreWriter(sys.argv[1]); writer.add_task('a', 2, 1, 5000, 2)\n"
        "for _ in range(9): writer.add_episode('a', np.zeros((5001, 2)), np.zeros((5000, 1)), np.zeros(5000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    import pwm.data.writer as module

    source = os.path.abspath(os.path.join(os.path.dirname(module.__file__), "..", ".."))
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env={**os.environ, "PYTHONPATH": source})
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a" / "observations.npy").stat().st_size > 100_000
    with pytest.raises(PWMError, match="no episode store here"):
        open_store(tmp_path)
    with StoreWriter(tmp_path) as writer:
        writer.add_task("a", 2, 1, 5, 2)
        writer.add_episode("a", **episode())
    assert open_store(tmp_path, verify=True)["a"].rewards.shape == (3,)


def test_an_existing_store_is_not_overwritten(tmp_path):
    with StoreWriter(tmp_path) as writer:
        writer.add_task("a", 2, 1, 5, 2)
        writer.add_episode("a", **episode())
    with pytest.raises(PWMError, match="already holds an episode store"):
        StoreWriter(tmp_path)
    assert open_store(tmp_path, verify=True).tasks == ("a",)


def test_wrong_declarations(tmp_path):
    writer = StoreWriter(tmp_path)
    writer.add_task("a", 2, 1, 5, 2)
    with pytest.raises(PWMError, match="task a: declared twice"):
        writer.add_task("a", 2, 1, 5, 2)
    with pytest.raises(PWMError, match="task b: action_dim is 0"):
        writer.add_task("b", 2, 0, 5, 2)
    for bad in ("../b", "", ".b", "b/c"):
        with pytest.raises(PWMError, match="task id"):
            writer.add_task(bad, 2, 1, 5, 2)
    with pytest.raises(PWMError, match="task b: not declared"):
        writer.add_episode("b", **episode())
    with pytest.raises(PWMError, match="task a: has no episodes"):
        writer.close()
    with pytest.raises(PWMError, match="no task was declared"):
        StoreWriter(tmp_path).close()


def test_actions_may_exceed_their_range_by_rounding_only(tmp_path):
    with StoreWriter(tmp_path) as writer:
        writer.add_task("a", 2, 1, 7, 2)
        writer.add_episode("a", **episode() | {"actions": np.array([[1 + 5e-7], [-1], [1]])})
        with pytest.raises(WrongEpisode, match="episode 1, actions: 1.00001 at step 1 is outside"):
            writer.add_episode("a", **episode() | {"actions": np.array([[1], [-1.00001], [1]])})


def test_tags_make_version_2_and_their_absence_version_1(tmp_path):
    def write(name, *tags):
        with StoreWriter(tmp_path / name) as writer:
            writer.add_task("a", 2, 1, 7, 2)
            writer.add_task("b", 2, 1, 7, 2)
            for i, tag in enumerate(tags):
                writer.add_episode("a", **episode(3, i), quality=tag)
                writer.add_episode("b", **episode(3, i))
        return json.loads((tmp_path / name / "manifest.json").read_text())

    plain = write("plain", None, None)
    assert plain["version"] == 1 and "qualities" not in plain and "origins" not in plain["tasks"][0]
    assert "quality.npy" not in plain["tasks"][0]["files"]
    tagged = write("tagged", "medium", None, "expert", "medium")
    assert (tagged["version"], tagged["qualities"]) == (2, ["expert", "medium"])
    store = open_store(tmp_path / "tagged", verify=True)
    assert store.quality("a").tolist() == ["medium", "", "expert", "medium"]
    assert store.quality("b").tolist() == [""] * 4 and store["b"].quality is None
    with pytest.raises(PWMError, match="quality 'a b': use letters"):
        write("wrong", "a b")
    path = tmp_path / "tagged" / "a" / "quality.npy"
    np.save(path, np.array([0, 1, 2, 255], np.uint8))
    with pytest.raises(PWMError, match="quality.npy: must count in the manifest's qualities"):
        open_store(tmp_path / "tagged")
    np.save(path, np.array([0, 1, 1, 255], np.uint8))
    with pytest.raises(PWMError, match="quality.npy: wrong checksum"):
        open_store(tmp_path / "tagged", verify=True)


def test_a_full_disk_is_an_error_and_leaves_no_store(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    for target in ("pwm.data.writer._ArrayFile.append", "pwm.data.writer._ArrayFile.finish"):
        with monkeypatch.context() as patch, pytest.raises(PWMError, match="No space left on device.*free space"):
            patch.setattr(target, refuse)
            with StoreWriter(tmp_path) as writer:
                writer.add_task("a", 2, 1, 5, 2)
                writer.add_episode("a", **episode())
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
