import zipfile

import numpy as np
import pytest

from pwm.data.convert import store_from_npz
from pwm.data.store import open_store
from pwm.runtime.errors import PWMError


@pytest.fixture
def recording():
    """Two episodes of three steps; row 0 of action and reward is filler."""
    random = np.random.default_rng(0)
    data = {
        "obs": random.normal(size=(2, 4, 3)),
        "action": random.uniform(-1, 1, size=(2, 4, 2)),
        "reward": random.normal(size=(2, 4)),
    }
    data = {name: array.astype(np.float32) for name, array in data.items()}
    data["action"][:, 0] = np.nan
    data["reward"][:, 0] = np.nan
    return data


def test_filler_is_dropped_and_order_kept(tmp_path, recording):
    np.savez_compressed(tmp_path / "a.npz", **recording)
    store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s", action_repeat=4, source="here")
    store = open_store(tmp_path / "s", verify=True)
    a = store["a"]
    assert (a.episode_length, a.action_repeat, store.manifest.tasks[0].source) == (3, 4, "here")
    assert a.offsets.tolist() == [0, 3, 6] and not a.terminations.any()
    for e in range(2):
        for t in range(3):  # the action after observation t led to observation t + 1, where the file keeps it
            i = a.offsets[e] + t
            assert np.array_equal(a.observations[i + e], recording["obs"][e, t])
            assert np.array_equal(a.observations[i + e + 1], recording["obs"][e, t + 1])
            assert np.array_equal(a.actions[i], recording["action"][e, t + 1])
            assert a.rewards[i] == recording["reward"][e, t + 1]


def test_wrong_files(tmp_path, recording):
    path, out = tmp_path / "a.npz", tmp_path / "s"

    def refused(message):
        with pytest.raises(PWMError, match=message):
            store_from_npz({"a": path}, out)
        with pytest.raises(PWMError, match="no episode store here"):
            open_store(out)

    refused("a.npz: no such file")
    np.savez(path, obs=recording["obs"], action=recording["action"])
    refused("reward is not in the file; it needs obs, action, reward")
    np.savez(path, **{**recording, "reward": recording["reward"][:, 1:]})
    refused(r"obs, action, reward are \[2, 4, 3\], \[2, 4, 2\], \[2, 3\]; need")
    recording["obs"][1, 2] = np.nan
    np.savez(path, **recording)
    refused("task a, episode 1, observations: NaN")
    path.write_bytes(path.read_bytes()[:-200])
    refused("not a readable .npz file")


def test_gymnasium_order_and_flat_arrays(tmp_path, recording):
    """The three layouts of the same episodes give the same bytes."""
    ends = np.zeros((2, 3), bool)
    ends[1, 2] = True
    shifted = np.concatenate([np.ones((2, 1), bool), ends], 1)
    np.savez(tmp_path / "a.npz", **recording, terminations=shifted)
    plain = {
        "observations": recording["obs"],
        "actions": recording["action"][:, 1:],
        "rewards": recording["reward"][:, 1:],
        "terminations": ends,
    }
    np.savez_compressed(tmp_path / "b.npz", **plain)
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in plain.items()}
    np.savez(tmp_path / "c.npz", **flat, lengths=np.array([3, 3], np.int32))
    np.savez(tmp_path / "d.npz", **flat, offsets=np.array([0, 3, 6]))
    for name in "abcd":
        store_from_npz({"t": tmp_path / f"{name}.npz"}, tmp_path / name)
    prints = {open_store(tmp_path / name, verify=True).fingerprint() for name in "abcd"}
    assert len(prints) == 1
    assert open_store(tmp_path / "a")["t"].terminations.tolist() == [False] * 5 + [True]


def test_episodes_of_different_lengths(tmp_path):
    random = np.random.default_rng(0)
    flat = {"observations": random.normal(size=(8, 2)), "actions": random.uniform(-1, 1, (6, 1)), "rewards": np.ones(6)}
    np.savez(tmp_path / "a.npz", **flat, lengths=[4, 2], quality=np.array(["expert", ""]))
    store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s")
    store = open_store(tmp_path / "s", verify=True)
    assert store["a"].offsets.tolist() == [0, 4, 6] and store["a"].episode_length == 4
    assert store.quality("a").tolist() == ["expert", ""]
    assert np.array_equal(store["a"].observations, flat["observations"].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": [4, 3]}, r"observations, actions, rewards are \[8, 2\], \[6, 1\], \[6\]; need \[N \+ E, o\]"),
        ({"lengths": [7, -1]}, "lengths: episode 1 has -1 steps, must have 1 or more"),
        ({"lengths": [6, 0]}, "lengths: episode 1 has 0 steps"),
        ({"lengths": None, "offsets": [1, 5, 7]}, "offsets start at 1, must start at 0"),
        ({"offsets": [0, 2, 6]}, "lengths and offsets do not agree"),
        ({"lengths": [4.0, 2.0]}, "lengths holds float64, must hold whole numbers"),
        ({"lengths": [[4, 2]]}, "lengths must be whole numbers in one row"),
        ({"lengths": None}, "flat arrays need lengths"),
        ({"terminations": np.zeros(5, bool)}, r"terminations is \[5\], need \[6\]"),
        ({"quality": np.array(["x"])}, r"quality must be text \[2\]"),
        ({"quality": np.array(["x", "no good"])}, "quality 'no good': use letters"),
        ({"actions": np.full((6, 1), 2.0)}, r"actions: 2 at step 0 is outside"),
        ({"rewards": np.array([object()] * 6, object)}, "rewards holds Python objects"),
        ({"observations": np.zeros((8, 2), complex)}, "observations holds complex128, must hold real numbers"),
        ({"actions": np.full((6, 1), "0.5")}, "actions holds str96, must hold real numbers"),
        ({"rewards": np.zeros(6, "datetime64[s]")}, r"rewards holds datetime64\[s\], must hold real numbers"),
        ({"quality": np.array([1, 2])}, "quality holds int64, must hold text"),
        ({"gripper_force": np.zeros(6)}, "gripper_force is not an array that is known .* --ignore gripper_force"),
        ({"next_observations": np.zeros((6, 2))}, "next_observations is not read"),
        ({"reward": np.zeros(6)}, "has observations and reward, of two layouts"),
        ({"terminated": np.zeros(6), "terminals": np.zeros(6)}, "terminated and terminals, which mean the same"),
        ({"dones": np.zeros(6, bool)}, "dones does not tell episodes that ended by themselves"),
        ({"timeouts": np.array([0, 1, 0, 0, 0, 0])}, "episode 0: truncations is set at step 1 of 4"),
        ({"terminals": np.array([0, 0, 0, 0, 0, 2])}, "episode 1: terminations must be 0 or 1"),
        ({"observations": np.asfortranarray(np.zeros((8, 2)))}, "Fortran order"),
    ],
)
def test_wrong_flat_files(tmp_path, change, message):
    flat = {"observations": np.zeros((8, 2)), "actions": np.zeros((6, 1)), "rewards": np.ones(6), "lengths": [4, 2]}
    arrays = {name: value for name, value in (flat | change).items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(PWMError, match=message):
        store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s")
    with pytest.raises(PWMError, match="no episode store here"):
        open_store(tmp_path / "s")


@pytest.mark.parametrize("name", ["terminations", "terminated", "terminals", "terminal"])
def test_names_of_terminations(tmp_path, name):
    flat = {"observations": np.zeros((8, 2)), "actions": np.zeros((6, 1)), "rewards": np.ones(6), "lengths": [4, 2]}
    np.savez(tmp_path / "a.npz", **flat, **{name: [0, 0, 0, 1, 0, 0]})
    store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s")
    assert open_store(tmp_path / "s")["a"].terminations.tolist() == [False, False, False, True, False, False]


def test_dones_that_are_no_timeouts_are_terminations(tmp_path):
    flat = {"observations": np.zeros((8, 2)), "actions": np.zeros((6, 1)), "rewards": np.ones(6), "lengths": [4, 2]}
    np.savez(tmp_path / "a.npz", **flat, dones=[0, 0, 0, 1, 0, 1], timeouts=[0, 0, 0, 1, 0, 0])
    store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s")
    assert open_store(tmp_path / "s")["a"].terminations.tolist() == [False] * 5 + [True]


def test_damaged_episodes_can_be_skipped_and_arrays_left_out(tmp_path, recording):
    recording["obs"][0, 2] = np.nan
    np.savez(tmp_path / "a.npz", **recording, notes=np.array([{"by": "me"}], object))
    with pytest.raises(PWMError, match=r"a.npz, episode 0 \(.*NaN.*\), or add --skip-damaged"):
        store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s", ignore=["notes"])
    assert store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s", ignore=["notes"], skip_damaged=True) == 1
    store = open_store(tmp_path / "s", verify=True)
    assert len(store["a"].lengths) == 1 and np.array_equal(store["a"].observations, recording["obs"][1])


def test_an_array_shorter_than_its_header_says(tmp_path):
    """A hostile header cannot ask for memory: the size in the archive has to be that of the shape."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, shape in {"observations": (10**9, 4, 3), "actions": (2, 3, 2), "rewards": (2, 3)}.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
                file.write(bytes(96))
    with pytest.raises(PWMError, match="observations ends early"):
        store_from_npz({"a": tmp_path / "a.npz"}, tmp_path / "s")
