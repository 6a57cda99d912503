"""Minari: what is exported loads there and comes back with the same bytes; other datasets are understood or refused."""

import json
import sys

import numpy as np
import pytest
from gymnasium import spaces

from pwm.data.manifest import Origin
from pwm.data.minari_export import export_minari
from pwm.data.minari_import import store_from_minari, task_of
from pwm.data.store import open_store
from pwm.runtime.errors import PWMError
from tests.stores import random_store

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    return tmp_path / "root"


def write(path, tags=("expert", None, "medium")):
    """Two tasks of different sizes; lengths differ, one episode terminates."""
    origins = [Origin("random", 0.1, 3, 0, 3, "expert", {"mujoco": "3"})] if any(tags) else []
    more = {"ends": [0], "tags": tags, "source": "by hand", "origins": origins}
    return random_store(path, {"b.1": (3, 2), "a": (2, 1)}, (4, 1, 9), **more)


def test_export_is_what_minari_loads(tmp_path, root):
    store = write(tmp_path / "s")
    assert export_minari(store, root)["written"] == ["pwm/b_1-v0", "pwm/a-v0"]
    for task, name in (("b.1", "pwm/b_1-v0"), ("a", "pwm/a-v0")):
        data, dataset = store[task], minari.load_dataset(name)
        assert (dataset.total_episodes, dataset.total_steps) == (3, 14)
        assert dataset.action_space == spaces.Box(-1, 1, (data.action_dim,), np.float32)
        assert dataset.observation_space.shape == (data.observation_dim,)
        for e, episode in enumerate(dataset):
            first, last = data.offsets[e], data.offsets[e + 1]
            pairs = {
                "observations": data.observations[first + e : last + e + 1],
                "actions": data.actions[first:last],
                "rewards": data.rewards[first:last],
                "terminations": data.terminations[first:last],
            }
            for field, wanted in pairs.items():
                found = getattr(episode, field)
                assert found.dtype == wanted.dtype and np.array_equal(found, wanted), (task, e, field)
            assert episode.truncations[-1] != episode.terminations[-1] and not episode.truncations[:-1].any()
    assert set(minari.list_local_datasets()) == {"pwm/b_1-v0", "pwm/a-v0"}


@pytest.mark.parametrize("tags", [("expert", None, "medium"), (None, None, None)])
def test_there_and_back_gives_the_same_bytes(tmp_path, root, tags):
    store = write(tmp_path / "s", tags)
    export_minari(store, root)
    store_from_minari({"?x": str(root / "pwm" / "b_1-v0"), "?y": "pwm/a-v0"}, tmp_path / "t")
    back = open_store(tmp_path / "t", verify=True)
    assert back.fingerprint() == store.fingerprint() and back.tasks == store.tasks
    assert (tmp_path / "t" / "a" / "actions.npy").read_bytes() == (tmp_path / "s" / "a" / "actions.npy").read_bytes()


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = write("s")
    export_minari(store, "here", "some/where")
    store_from_minari({"?1": "here/some/where/b_1-v0", "?2": "here/some/where/a-v0/data"}, "t")
    assert open_store("t").fingerprint() == store.fingerprint()


def test_an_export_goes_on_and_overwrites_nothing(tmp_path, root, monkeypatch):
    store = write(tmp_path / "s")
    with monkeypatch.context() as patch, pytest.raises(PWMError, match="cannot write .*No space left"):
        count = iter(range(100))

        def full(self, episodes):
            list(episodes)
            if next(count) == 1:
                raise OSError(28, "No space left on device")

        patch.setattr("minari.dataset._storages.hdf5_storage.HDF5Storage.update_episodes", full)
        patch.setattr("minari.dataset.minari_storage.MinariStorage.update_metadata", lambda *_: None)
        patch.setattr("minari.dataset._storages.hdf5_storage.HDF5Storage.update_episode_metadata", lambda *_: None)
        export_minari(store, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other" / "pwm").iterdir()] == ["b_1-v0"]
    export_minari(open_store(tmp_path / "s", ["a"]), root)
    assert export_minari(store, root) == {"written": ["pwm/b_1-v0"], "skipped": ["pwm/a-v0"]}
    changed = write(tmp_path / "s2", (None, None, "x"))
    with pytest.raises(PWMError, match="b_1-v0: already exists, from other data"):
        export_minari(changed, root)
    with pytest.raises(PWMError, match="namespace 'a b'"):
        export_minari(store, root, "a b")


def buffers(make, episodes=2, steps=3):
    from minari.data_collector import EpisodeBuffer

    return [
        EpisodeBuffer(
            **make(e),
            rewards=np.arange(steps, dtype=np.float64) + e,
            terminations=np.arange(steps) == (steps - 1 if e else -1),
            truncations=np.arange(steps) == (-1 if e else steps - 1),
        )
        for e in range(episodes)
    ]


@pytest.fixture
def create():
    def run(name, observation_space, action_space, make, **options):
        options = {"data_format": "hdf5"} | options
        minari.create_dataset_from_buffers(
            name, buffers(make), observation_space=observation_space, action_space=action_space, **options
        )

    return run


BOX = spaces.Box(-np.inf, np.inf, (2,), np.float64)
TORQUES = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64)


def vectors(e):
    random = np.random.default_rng(e)
    actions = random.uniform([-2, 0], [2, 10], size=(3, 2))
    actions[0] = (-2, 10)
    return {"observations": random.normal(size=(4, 2)), "actions": actions}


@pytest.mark.filterwarnings("ignore")
def test_actions_are_rescaled_and_float64_is_rounded_once(tmp_path, create):
    create("toy/torques-v0", BOX, TORQUES, vectors)
    assert store_from_minari({"torques": "toy/torques-v0"}, tmp_path / "s", quality="x") == 0
    store = open_store(tmp_path / "s", verify=True)
    task = store["torques"]
    wanted = np.concatenate([vectors(e)["actions"] for e in range(2)]) / [2, 5] - [0, 1]
    np.testing.assert_allclose(task.actions, wanted, atol=1e-7)
    assert task.actions[0].tolist() == [-1, 1] and task.lengths.tolist() == [3, 3]
    assert np.array_equal(task.observations[:4], vectors(0)["observations"].astype(np.float32))
    assert task.terminations.tolist() == [False] * 5 + [True] and task.rewards.tolist() == [0, 1, 2, 1, 2, 3]
    assert (task.episode_length, task.action_repeat) == (3, 1) and set(store.quality("torques")) == {"x"}
    assert store.manifest.tasks[0].source == "Minari dataset toy/torques-v0"


@pytest.mark.filterwarnings("ignore")
def test_dictionaries_are_flattened_in_the_order_of_their_space(tmp_path, create):
    inner = spaces.Tuple((spaces.Box(-9, 9, (1,), np.float32), spaces.Box(-9, 9, (2, 2), np.float32)))
    space = spaces.Dict([("z", spaces.Box(-9, 9, (2,), np.float32)), ("a", inner)])

    def make(e):
        base = np.arange(4, dtype=np.float32)
        first = np.stack([base, base + 0.5], 1)
        parts = (np.full((4, 1), 7, np.float32), np.arange(16, dtype=np.float32).reshape(4, 2, 2) / 4)
        return {"observations": {"z": first, "a": parts}, "actions": np.zeros((3, 2))}

    create("toy/nested-v0", space, TORQUES, make)
    loaded = minari.load_dataset("toy/nested-v0").observation_space
    store_from_minari({"nested": "toy/nested-v0"}, tmp_path / "s")
    row = open_store(tmp_path / "s")["nested"].observations[2]
    parts = {"z": [2, 2.5], "a": [7, 2, 2.25, 2.5, 2.75]}
    assert row.tolist() == [x for key in loaded.spaces for x in parts[key]]


class Trap:
    def __init__(self):
        pytest.fail("an environment was built from what a file says")


def test_without_the_package(tmp_path, root, monkeypatch):
    store = write(tmp_path / "s")
    monkeypatch.setitem(sys.modules, "minari", None)
    for call in (lambda: export_minari(store, root), lambda: store_from_minari({"t": "a/b-v0"}, tmp_path / "t")):
        with pytest.raises(PWMError, match=r"pip install 'pwm\[minari\]'"):
            call()


def test_only_a_download_touches_the_network(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(minari, "download_dataset", lambda name: asked.append(name))
    for download in (False, True):
        with pytest.raises(PWMError, match="nor a local Minari dataset"):
            store_from_minari({"t": "a/b-v0"}, tmp_path / "t", download=download)
    assert asked == ["a/b-v0"]


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_understood_is_refused(tmp_path, create, root):
    def refused(name, message, **options):
        with pytest.raises(PWMError, match=message):
            store_from_minari({"t": name}, tmp_path / "s", **options)
        with pytest.raises(PWMError, match="no episode store here"):
            open_store(tmp_path / "s")

    create("toy/a-v0", BOX, spaces.Discrete(3), lambda e: vectors(e) | {"actions": np.zeros(3, np.int64)})
    refused("toy/a-v0", "toy/a-v0: action space: is Discrete.*need a vector of real numbers")
    create("toy/b-v0", BOX, BOX, vectors)
    refused("toy/b-v0", "action space: has no bounds")
    mixed = spaces.Dict({"x": BOX, "n": spaces.Discrete(3)})
    both = lambda e: {"x": vectors(e)["observations"], "n": np.zeros(4, np.int64)}  # noqa: E731
    create("toy/c-v0", mixed, TORQUES, lambda e: vectors(e) | {"observations": both(e)})
    refused("toy/c-v0", "observation space, part n: is Discrete; need Box, or Dict or Tuple of Box")
    images = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    create("toy/d-v0", images, TORQUES, lambda e: vectors(e) | {"observations": np.zeros((4, 4, 4, 3), np.uint8)})
    refused("toy/d-v0", "looks like images")
    create("toy/e-v0", BOX, TORQUES, lambda e: vectors(e) | {"actions": np.full((3, 2), 2.5 - e)})
    refused("toy/e-v0", r"toy/e-v0, episode 0 \(task t, episode 0, actions: 1.25 at step 0 is outside.*--skip-damaged")
    assert store_from_minari({"t": "toy/e-v0"}, tmp_path / "ok", skip_damaged=True) == 1
    refused("toy/none-v0", "toy/none-v0: no such folder, nor a local Minari dataset.*add --download")
    refused(str(tmp_path), "holds no Minari dataset")
    path = root / "toy" / "b-v0" / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in metadata.items() if k != "action_space"}))
    refused("toy/b-v0", "its metadata have no action_space")
    env = json.dumps({"id": "Trap-v0", "entry_point": "tests.data.test_minari:Trap", "kwargs": {}})
    path.write_text(json.dumps({k: v for k, v in metadata.items() if k != "action_space"} | {"env_spec": env}))
    refused("toy/b-v0", "its metadata have no action_space")
    path.write_text("{")
    refused(str(root / "toy" / "b-v0"), "metadata.json: not valid JSON")
    file = root / "toy" / "e-v0" / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:2000])
    refused("toy/e-v0", "not a readable Minari dataset")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_other_storages(tmp_path, create, data_format):
    pytest.importorskip("pyarrow")
    create("toy/x-v0", BOX, TORQUES, vectors, data_format=data_format)
    create("toy/y-v0", BOX, TORQUES, vectors)
    for name in "xy":
        store_from_minari({"t": f"toy/{name}-v0"}, tmp_path / name)
    arrays = [open_store(tmp_path / name)["t"] for name in "xy"]
    for field in ("observations", "actions", "rewards", "terminations", "offsets"):
        assert np.array_equal(*(getattr(array, field) for array in arrays)), field


def test_names_of_tasks():
    assert task_of("mujoco/ant/expert-v0") == "ant-expert"
    assert task_of("pwm/walker-walk-v0") == task_of("/data/pwm/walker-walk-v0/data") == "walker-walk"
    assert task_of("D4RL/door/human-v2") == "door-human" and task_of("./x y-v1") == "x-y"
