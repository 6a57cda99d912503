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

    refused("not a readable .npz file")
    np.savez(path, obs=recording["obs"], action=recording["action"])
    refused("reward is not a file in the archive; the file needs obs, action and reward")
    np.savez(path, **{**recording, "reward": recording["reward"][:, 1:]})
    refused(r"obs, action, reward are \[2, 4, 3\], \[2, 4, 2\], \[2, 3\]; need")
    recording["obs"][1, 2] = np.nan
    np.savez(path, **recording)
    refused("task a, episode 1, observations: NaN")
    path.write_bytes(path.read_bytes()[:-200])
    refused("not a readable .npz file")
