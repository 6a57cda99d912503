import json
import pickle

import numpy as np
import pytest

from pwm.data.store import open_store, sample_store_path
from pwm.runtime.errors import PWMError
from tests.stores import random_store

LENGTHS = {"narrow": (5, 3, 4), "wide": (6, 2)}
DIMS = {"narrow": (2, 1), "wide": (4, 3)}


@pytest.fixture
def folder(tmp_path):
    """A store of two tasks; the second episode of each terminates, and every reward is 1."""
    return random_store(
        tmp_path / "store", DIMS, LENGTHS, ends=[1], rewards=lambda observations, _: np.ones(len(observations) - 1)
    ).path


def refused(folder, message, **options):
    with pytest.raises(PWMError, match=message) as error:
        open_store(folder, **options)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def edit_manifest(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_open(folder):
    store = open_store(folder, verify=True)
    assert store.tasks == ("narrow", "wide") and (store.observation_dim, store.action_dim) == (4, 3)
    wide = store["wide"]
    assert wide.observations.shape == (8 + 2, 4) and wide.actions.shape == (8, 3)
    assert wide.lengths.tolist() == [6, 2] and wide.offsets.tolist() == [0, 6, 8]
    assert wide.terminations.nonzero()[0].tolist() == [7]
    assert store.returns("narrow").tolist() == [5, 3, 4] and store.returns("narrow").dtype == np.float32
    with pytest.raises(ValueError):
        wide.actions[0] = 0  # the files of a store do not change under a reader


def test_open_some_tasks(folder):
    store = open_store(folder, tasks=["narrow"])
    assert store.tasks == ("narrow",) and store.observation_dim == 2
    assert open_store(folder, tasks=["wide", "narrow"]).tasks == ("wide", "narrow")


def test_unknown_task(folder):
    refused(folder, "no task 'narow' in this store; did you mean narrow?", tasks=["narow"])
    refused(folder, "name at least one", tasks=[])
    with pytest.raises(PWMError, match="no task 'other'"):
        open_store(folder)["other"]


def test_fingerprint_follows_the_content(folder):
    before = open_store(folder).fingerprint()
    assert before == open_store(folder, tasks=["wide"]).fingerprint()
    edit_manifest(folder, lambda m: m["tasks"][0]["files"]["rewards.npy"].update(sha256="0"))
    assert open_store(folder).fingerprint() != before


def test_no_manifest(folder):
    (folder / "manifest.json").unlink()
    refused(folder, "no episode store here")
    refused(folder / "missing", "no episode store here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=3), "format is not 'pwm-episodes' version 1 or 2;"),
        (lambda m: m["tasks"][0].pop("action_dim"), r"field tasks\[0\].action_dim is missing"),
        (lambda m: m["tasks"][0].update(action_dim="1"), r"field tasks\[0\].action_dim: expected int"),
        (lambda m: m["tasks"][0].update(id="../store/narrow"), "task id '../store/narrow'"),
        (lambda m: m["tasks"][0].update(episodes=0), "task narrow: episodes is 0"),
        (lambda m: m["tasks"].clear(), "tasks must be listed"),
        (lambda m: m["tasks"].append(m["tasks"][0]), "tasks must be listed, each once"),
        (
            lambda m: m["tasks"][1].update(observation_dim=5),
            r"observations.npy: is float32 \[10, 4\], but .* \[10, 5\]",
        ),
        (lambda m: m["tasks"][1].update(transitions=9), "wide/observations.npy"),
    ],
)
def test_wrong_manifest(folder, change, message):
    edit_manifest(folder, change)
    refused(folder, message)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "terminations", "offsets"])
def test_truncated_missing_or_overlong_array(folder, name):
    path = folder / "wide" / f"{name}.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    refused(folder, f"{name}.npy: not a readable .npy file")
    path.write_bytes(content[:20])
    refused(folder, f"{name}.npy: not a readable .npy file")
    path.write_bytes(content + b"x")
    refused(folder, f"{name}.npy: the file is longer")
    path.unlink()
    refused(folder, f"{name}.npy: no such file")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickles_are_never_loaded(folder):
    path = folder / "wide" / "rewards.npy"
    path.write_bytes(pickle.dumps(Trap()))
    refused(folder, "rewards.npy: not a readable .npy file")
    np.save(path, np.array([Trap()] * 8, dtype=object), allow_pickle=True)
    refused(folder, "rewards.npy: not a readable .npy file")


def test_wrong_dtype_or_order(folder):
    path = folder / "wide" / "actions.npy"
    actions = np.load(path)
    np.save(path, actions.astype(np.float64))
    refused(folder, r"actions.npy: is float64 \[8, 3\], but the manifest needs float32 \[8, 3\]")
    np.save(path, np.asfortranarray(actions))
    refused(folder, "actions.npy")


@pytest.mark.parametrize("offsets", [[0, 8, 8], [1, 6, 8], [0, 6, 7], [0, 9, 8]])
def test_wrong_offsets(folder, offsets):
    np.save(folder / "wide" / "offsets.npy", np.array(offsets))
    refused(folder, "offsets.npy: must rise from 0 to 8")


def overwrite(folder, name, row, value, forge_checksum=True):
    """Change one entry of an array of task "wide", and the manifest's checksum with it."""
    from pwm.runtime.files import sha256

    path = folder / "wide" / f"{name}.npy"
    array = np.load(path)
    array[row] = value
    np.save(path, array)
    if forge_checksum:
        digest = sha256(path)
        edit_manifest(folder, lambda m: m["tasks"][1]["files"][path.name].update(sha256=digest))


def test_wrong_checksum(folder):
    overwrite(folder, "rewards", 3, 0.5, forge_checksum=False)
    open_store(folder)
    refused(folder, "wide/rewards.npy: wrong checksum", verify=True)


def test_missing_checksum(folder):
    edit_manifest(folder, lambda m: m["tasks"][1]["files"].pop("actions.npy"))
    refused(folder, "wide/actions.npy: the manifest has no checksum", verify=True)


@pytest.mark.parametrize(
    ("name", "row", "value", "episode"),
    [
        ("observations", (6, 1), np.nan, 0),  # the last observation of episode 0
        ("observations", (7, 0), np.inf, 1),
        ("actions", (5, 2), np.nan, 0),
        ("rewards", 6, -np.inf, 1),
    ],
)
def test_not_finite_names_task_and_episode(folder, name, row, value, episode):
    overwrite(folder, name, row, value)
    refused(folder, rf"{name}.npy: row \d \(task wide, episode {episode}\) holds NaN or infinity", verify=True)


def test_termination_inside_an_episode(folder):
    overwrite(folder, "terminations", 2, True)
    refused(folder, "terminations.npy: row 2 terminates inside", verify=True)


def test_bundled_sample():
    path = sample_store_path()
    store = open_store(path, verify=True)
    dims = {task: (store[task].observation_dim, store[task].action_dim) for task in store.tasks}
    assert dims == {"cartpole-swingup": (5, 1), "cup-catch": (8, 2), "reacher-easy": (6, 2), "walker-walk": (24, 6)}
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) <= 12_000_000
    card = (path / "CARD.md").read_text()
    for entry in store.manifest.tasks:
        returns = store.returns(entry.id)
        assert returns.shape == (100,) and 0 <= returns.min() and returns.max() <= 1000
        assert entry.returns.mean == pytest.approx(returns.mean(), rel=1e-5)
        assert entry.returns.best10_mean == pytest.approx(np.sort(returns)[-10:].mean(), rel=1e-5)
        assert f"| {entry.returns.mean:.1f} | {entry.returns.best10_mean:.1f} |" in card
        assert np.abs(store[entry.id].actions).max() <= 1
