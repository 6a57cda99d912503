"""`pwm data collect`: random, scripted and learned policies into a store."""

import numpy as np
import pytest

from pwm.acting.policy_file import load_policy, policy_path
from pwm.data.store import open_store
from pwm.runtime.files import sha256
from pwm.tasks import registry
from tests.cli.test_data import done, refused
from tests.policies import untrained_policy
from tests.toys import SIZES, travelling_task


def test_random_actions_in_two_qualities(pwm, tmp_path):
    arguments = ("data", "collect", "--tasks", "toy-a", "toy-b", "--episodes", "3", "--noise", "0", "0.5")
    text = done(pwm(*arguments, "--quality", "random", "noisy", "--out", "s"))
    assert "12 episodes of 2 tasks in s" in text
    store = open_store("s", verify=True)
    assert store.quality("toy-b").tolist() == ["random"] * 3 + ["noisy"] * 3
    done(pwm(*arguments, "--quality", "random", "noisy", "--out", "t"))
    assert open_store("t").fingerprint() == store.fingerprint()
    assert "toy-a: 3 episodes by random, noise 0.5, seed 0" in done(pwm("data", "inspect", "s"))
    assert "2 tasks are whole" in done(pwm("data", "validate", "s"))


def test_the_store_is_the_same_from_any_number_of_processes(pwm):
    """A group of 32 episodes and one of 3, of a task that ends by its length alone and of one that falls."""
    for spec in (travelling_task("even", 9), travelling_task("falling", 9, wall=2.5)):
        registry.register_task(spec)
    command = ("data", "collect", "--tasks", "even", "falling", "--episodes", "35", "--noise", "0.3", "--seed", "3")
    prints = set()
    for workers in (0, 1, 2, 3):
        assert "alone" not in done(pwm(*command, "--workers", workers, "--out", f"by-{workers}"))
        store = open_store(f"by-{workers}", verify=True)
        prints.add(store.fingerprint())
        falls = store["falling"].terminations
        assert 5 < falls.sum() < 35 and not store["even"].terminations.any() and (store["even"].lengths == 9).all()
        assert len(np.unique(store["falling"].lengths)) > 3
    assert len(prints) == 1
    assert "workers is -1" in refused(pwm(*command, "--workers", "-1", "--out", "none"))


def test_one_is_singular(pwm):
    command = ("data", "collect", "--tasks", "toy-a", "--policy", "random", "--episodes", "1", "--out", "one")
    assert "1 episode of 1 task in one." in done(pwm(*command))
    assert "1 task is whole" in done(pwm("data", "validate", "one"))
    assert "1 task, 1 episode, 12 steps, " in done(pwm("data", "inspect", "one"))


@pytest.fixture
def run(tmp_path):
    """A run folder with a policy of random weights for each toy task."""
    for task, (o, a) in SIZES.items():
        untrained_policy(task, o, a).save(policy_path(tmp_path / "run", task, 0))
    return tmp_path / "run"


def test_policies_of_a_run(pwm, run):
    file = run / "policies" / "toy-a" / "seed0.safetensors"
    done(pwm("data", "collect", "--policy", file, "--episodes", "2", "--out", "a"))
    done(pwm("data", "collect", "--policy", run, "--tasks", "toy-b", "--episodes", "2", "--out", "b"))
    done(pwm("data", "collect", "--policy", run, "--episodes", "1", "--out", "c"))
    store = open_store("a", verify=True)
    assert store.tasks == ("toy-a",) and store.manifest.tasks[0].origins[0].policy == sha256(file)
    data = store["toy-a"]
    states = np.concatenate(
        [data.observations[: len(data.actions) // 2], data.observations[len(data.actions) // 2 + 1 : -1]]
    )
    np.testing.assert_allclose(data.actions, load_policy(file).act(states), atol=1e-6)
    assert open_store("b").tasks == ("toy-b",) and open_store("c").tasks == ("toy-a", "toy-b")
    assert "no policy for task toy-b" in refused(
        pwm("data", "collect", "--policy", file, "--tasks", "toy-b", "--out", "d")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "s"), "name the tasks to play with --tasks"),
        (("--out", "s", "--tasks", "toy-a", "--task-set", "mt30"), "name the tasks to play with --tasks, or a set"),
        (("--out", "s", "--tasks", "toy-q"), "unknown task 'toy-q'"),
        (("--out", "s", "--tasks", "toy-a", "--policy", "scripted"), "only the tasks of Meta-World"),
        (("--out", "s", "--tasks", "toy-a", "--policy", "x.safetensors"), "no such file or run folder"),
        (("--out", "s", "--tasks", "toy-a", "--noise", "-1"), "noise is -1"),
        (
            ("--out", "s", "--tasks", "toy-a", "--noise", "0", "1", "2", "--quality", "a", "b"),
            "names 2 tags for 3 levels",
        ),
        (("--out", "s", "--tasks", "toy-a", "--quality", "a b"), "quality 'a b': use letters"),
        (("--out", "s", "--tasks", "toy-a", "--episodes", "0"), "episodes is 0"),
        (("--out", "store", "--tasks", "toy-a"), "already holds an episode store"),
    ],
)
def test_wrong_input(pwm, store, tmp_path, arguments, message):
    assert message in refused(pwm("data", "collect", *arguments))
    assert not list(tmp_path.glob("s/**/*.npy"))


def test_scripted_policies(pwm):
    done(pwm("data", "collect", "--policy", "scripted", "--tasks", "mw-reach", "--episodes", "1", "--out", "s"))
    data = open_store("s", verify=True)["mw-reach"]
    assert data.rewards.shape == (100,) and data.rewards[-1] > 15  # two control steps of at most 10 each, at the goal
