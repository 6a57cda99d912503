import json
import shutil

import numpy as np
import pytest

import pwm.evaluation.evaluate as module
from pwm.acting import workers as processes
from pwm.acting.policy_file import load_policy, policy_path
from pwm.acting.random_policy import random_policy
from pwm.acting.rollout import run_episodes
from pwm.data.store import open_store
from pwm.evaluation.evaluate import evaluate_run, evaluation_seeds
from pwm.evaluation.statistics import aggregate_mean, stratified_bootstrap_ci
from pwm.runtime.errors import PWMError
from pwm.runtime.files import write_json
from pwm.runtime.metrics import read_metrics
from pwm.tasks import registry
from tests.policies import untrained_policy
from tests.stores import random_store
from tests.toys import toy_task, travelling_task


@pytest.fixture
def tasks(monkeypatch):
    """Three registered toy tasks, and the environments that were made of them."""
    made = []
    specs = (
        toy_task("toy-a", 3, 2, 6, made=made),
        toy_task("toy-b", 2, 1, 9, made=made),
        toy_task("toy-s", 2, 1, 5, reports_success=True, made=made),
    )
    registry.list_tasks()
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {spec.id: spec for spec in specs})
    return {spec.id: spec for spec in specs}, made


def save_policy(run, spec, seed, level=0.0, weights=0):
    """A policy with random weights whose actions lie around tanh(level)."""
    policy = untrained_policy(spec.id, spec.observation_dim, spec.action_dim, seed, weights=weights, level=level)
    path = policy_path(run, spec.id, seed)
    policy.save(path)
    return path


@pytest.fixture
def run(tmp_path, tasks):
    """A run folder with one policy for two tasks, and the data that it names."""
    specs, _ = tasks
    store = random_store(tmp_path / "store", {"toy-a": (3, 2), "toy-b": (2, 1)}, [5] * 12, episode_length=6)
    folder = tmp_path / "run"
    write_json(folder / "run.json", {"data": {"path": str(store.path), "fingerprint": store.fingerprint()}})
    for task in ("toy-a", "toy-b"):
        save_policy(folder, specs[task], 0)
    return folder


def play(spec, policy, seed):
    """One episode, in the plainest way."""
    env = spec.make()
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
        total, over = total + reward, terminated or truncated
    return total


def test_returns_are_those_of_a_plain_loop(run, tasks):
    results = evaluate_run(run, 4, seed=3, film_seconds=0)
    assert json.loads((run / "results.json").read_text()) == json.loads(json.dumps(results))
    for task, entry in results["tasks"].items():
        spec, policy = tasks[0][task], load_policy(policy_path(run, task, 0))
        expected = [play(spec, policy, seed) for seed in entry["episode_seeds"]]
        assert entry["policy_returns"] == pytest.approx(expected, abs=1e-4)
        assert entry["policy_mean"] == pytest.approx(np.mean(expected), abs=1e-4)
        assert entry["policy_ci"] == list(mean_ci(entry["policy_returns"]))
        seeds = [entry["episode_seeds"]]
        assert entry["random_mean"] == run_episodes([spec], random_policy([spec], seeds), seeds).returns.mean()
        assert (entry["episodes"], entry["seed"], entry["score"]) == (4, 3, "return")
    assert results["wall_seconds"]["total"] >= results["wall_seconds"]["evaluate"] > 0


def test_data_means(run):
    store = open_store(run.parent / "store")
    entry = evaluate_run(run, 1, film_seconds=0)["tasks"]["toy-a"]
    returns = sorted(store.returns("toy-a").tolist())
    assert entry["data_mean"] == pytest.approx(np.mean(returns))
    assert entry["data_best10_mean"] == pytest.approx(np.mean(returns[-10:]))
    assert entry["data_best10_mean"] > entry["data_mean"]


def test_data_that_are_gone_or_changed_give_null(run, capsys):
    manifest = run.parent / "store" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    entry = evaluate_run(run, 1, film_seconds=0)["tasks"]["toy-a"]
    assert entry["data_mean"] is None and entry["data_best10_mean"] is None
    assert "have changed" in capsys.readouterr().out
    shutil.rmtree(run.parent / "store")
    assert evaluate_run(run, 1, film_seconds=0)["tasks"]["toy-b"]["data_mean"] is None
    (run / "run.json").unlink()
    assert evaluate_run(run, 1, film_seconds=0)["tasks"]["toy-b"]["data_mean"] is None


def test_the_grouping_changes_nothing(run, tasks, monkeypatch):
    specs, made = tasks
    save_policy(run, specs["toy-a"], 1, weights=1)
    whole = evaluate_run(run, 5, film_seconds=0)
    alive = []
    monkeypatch.setattr(module, "MAX_ENVIRONMENTS", 3)
    monkeypatch.setattr(module, "run_episodes", count_environments(module.run_episodes, alive))
    (run / "results.json").unlink()
    small = evaluate_run(run, 5, film_seconds=0)
    for task in whole["tasks"]:
        assert small["tasks"][task]["policy_returns"] == whole["tasks"][task]["policy_returns"]
        assert small["tasks"][task]["random_mean"] == whole["tasks"][task]["random_mean"]
    assert max(alive) <= 3 and sum(alive) == 5 * 5


def test_processes_change_nothing(tmp_path, monkeypatch, capsys):
    specs = [travelling_task("small-a", 6), travelling_task("small-b", 9)]
    registry.list_tasks()
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {spec.id: spec for spec in specs})
    results = []
    for workers, limit in ((0, 64), (2, 64), (3, 6)):
        monkeypatch.setattr(module, "MAX_ENVIRONMENTS", limit)
        run = tmp_path / f"{workers}"
        for spec in specs:
            save_policy(run, spec, 0)
            save_policy(run, spec, 1, weights=1)
        results.append(evaluate_run(run, 9, film_seconds=0, workers=workers)["tasks"])
    assert results[0] == results[1] == results[2]
    assert len(np.unique(results[0]["small-a"]["policy_returns"])) == 18
    assert "in this process alone" not in capsys.readouterr().out


def test_how_many_processes_by_itself(run, monkeypatch):
    asked = []

    class Counted(processes.Workers):
        def __init__(self, count, capacity):
            asked.append(count)
            super().__init__(0, capacity)

    monkeypatch.setattr(processes, "Workers", Counted)
    monkeypatch.setattr(processes, "count_cores", lambda: 5)
    evaluate_run(run, 1, film_seconds=0)
    monkeypatch.setattr(processes, "FEW_STEPS", 60)  # two episodes of 6 + 9 steps, random and learned
    evaluate_run(run, 2, film_seconds=0)
    evaluate_run(run, 2, 1, film_seconds=0, workers=3)
    assert asked == [0, 5, 3]


def mean_ci(returns):
    return stratified_bootstrap_ci(np.array(returns)[:, None], aggregate_mean)


def count_environments(run_episodes, alive):
    def counted(specs, act, seeds, *more):
        alive.append(seeds.size)
        return run_episodes(specs, act, seeds, *more)

    return counted


def test_what_was_measured_is_skipped(run, tasks, capsys):
    specs, made = tasks
    first = evaluate_run(run, 2, film_seconds=0)
    assert "skipped" not in capsys.readouterr().out
    lines = read_metrics(run)
    count = len(made)
    assert evaluate_run(run, 2, film_seconds=0) == first
    assert len(made) == count and read_metrics(run) == lines
    assert "skipped 2 of 2 policies" in capsys.readouterr().out

    save_policy(run, specs["toy-b"], 0, weights=5)
    second = evaluate_run(run, 2, film_seconds=0)
    assert "skipped 1 of 2 policies, measured before (toy-a seed 0)" in capsys.readouterr().out
    assert len(made) == count + 2  # two episodes of the new policy; the random one is known
    assert second["tasks"]["toy-a"] == first["tasks"]["toy-a"]
    assert second["tasks"]["toy-b"]["policy_mean"] != first["tasks"]["toy-b"]["policy_mean"]

    for episodes, seed in ((3, 0), (3, 1)):
        results = evaluate_run(run, episodes, seed, film_seconds=0)
        assert len(results["tasks"]["toy-a"]["policy_returns"]) == episodes
        assert "skipped" not in capsys.readouterr().out


def test_an_interrupted_evaluation_keeps_what_it_has(run, tasks, monkeypatch, capsys):
    specs, made = tasks
    monkeypatch.setattr(module, "MAX_ENVIRONMENTS", 2)  # one policy at a time
    whole = evaluate_run(run, 2, film_seconds=0)
    (run / "results.json").unlink()
    original, calls = module.run_episodes, []

    def fail_at_the_last(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(module, "run_episodes", fail_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, 2, film_seconds=0)
    assert list(json.loads((run / "results.json").read_text())["tasks"]) == ["toy-a"]
    monkeypatch.setattr(module, "run_episodes", original)
    count = len(made)
    capsys.readouterr()
    assert evaluate_run(run, 2, film_seconds=0)["tasks"] == whole["tasks"]
    assert len(made) == count + 2 and "toy-a seed 0" in capsys.readouterr().out
    assert [line["task"] for line in read_metrics(run)] == ["toy-a", "toy-b"]  # though each was measured twice


def test_lines_of_fewer_updates_stay(run, tasks):
    evaluate_run(run, 2, film_seconds=0)
    policy = untrained_policy("toy-a", 3, 2, 0, weights=1)
    policy.about["updates"] = 9
    policy.save(policy_path(run, "toy-a", 0))
    for _ in range(2):
        (run / "results.json").unlink()
        evaluate_run(run, 2, film_seconds=0)
    lines = [(line["task"], line["step"]) for line in read_metrics(run)]
    assert lines == [("toy-a", 7), ("toy-a", 9), ("toy-b", 7)]


def test_several_seeds_are_strata(run, tasks):
    for seed, level in ((0, -30.0), (1, 30.0)):  # far apart
        save_policy(run, tasks[0]["toy-a"], seed, level)
    entry = evaluate_run(run, 8, film_seconds=0)["tasks"]["toy-a"]
    means = [np.mean(scores["returns"]) for scores in entry["policies"].values()]
    assert list(entry["policies"]) == ["0", "1"] and len(entry["policy_returns"]) == 16
    assert entry["policy_mean"] == pytest.approx(np.mean(means))
    low, high = entry["policy_ci"]
    assert low < entry["policy_mean"] < high
    loose = mean_ci(entry["policy_returns"])
    assert high - low < 0.5 * (loose[1] - loose[0])  # what lies between the seeds does not widen it


def test_success_stands_beside_the_return(run, tasks):
    spec = tasks[0]["toy-s"]
    save_policy(run, spec, 0)
    entry = evaluate_run(run, 2, film_seconds=0)["tasks"]["toy-s"]
    assert entry["score"] == "success" and entry["data_mean"] is None
    assert (entry["policy_success_mean"], entry["policy_success_ci"]) == (1.0, [1.0, 1.0])  # it holds at odd steps
    assert entry["random_success_mean"] == 1.0
    assert entry["policy_mean"] == pytest.approx(np.mean(entry["policy_returns"]))
    [line] = [line for line in read_metrics(run) if line.get("task") == "toy-s"]
    assert line["success"] == 1.0


def test_success_at_any_step_stands_beside_that_at_the_last(run, monkeypatch):
    spec = toy_task("toy-even", 2, 1, 4, reports_success=True)  # it holds at odd steps, and the last is the fourth
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {spec.id: spec})
    save_policy(run, spec, 0)
    results = evaluate_run(run, 2, film_seconds=0)
    entry = results["tasks"]["toy-even"]
    assert (entry["policy_success_mean"], entry["policy_success_any_mean"]) == (0.0, 1.0)
    assert (entry["random_success_mean"], entry["random_success_any_mean"]) == (0.0, 1.0)
    assert entry["policies"]["0"]["success_any"] == [1.0, 1.0] and entry["policies"]["0"]["lengths"] == [4, 4]
    assert results["aggregate"]["normalised"]["toy-even"]["runs"] == {"0": 0.0}  # the last step counts
    assert "toy-a, toy-b" in results["aggregate"]["notes"][0]  # have no common scale
    [line] = [line for line in read_metrics(run) if line.get("task") == "toy-even"]
    assert (line["success"], line["success_any"]) == (0.0, 1.0)


def test_results_of_an_earlier_version_are_not_measured_again(run, tasks, capsys):
    save_policy(run, tasks[0]["toy-s"], 0)
    evaluate_run(run, 2, film_seconds=0)
    path = run / "results.json"
    old = json.loads(path.read_text())
    for scores in [*old["random"].values(), *(p for t in old["tasks"].values() for p in t["policies"].values())]:
        for name in ("lengths", "success_any"):
            scores.pop(name, None)
    del old["aggregate"]
    path.write_text(json.dumps(old))
    count = len(tasks[1])
    results = evaluate_run(run, 2, film_seconds=0)
    assert len(tasks[1]) == count and "skipped 3 of 3 policies" in capsys.readouterr().out
    entry = results["tasks"]["toy-s"]
    assert entry["policy_success_mean"] == 1.0 and "policy_success_any_mean" not in entry
    assert results["aggregate"]["tasks"] == ["toy-s"]


def test_a_scale_of_ones_own(run):
    results = evaluate_run(run, 2, film_seconds=0, return_ranges={"toy-b": (-10.0, 30.0)})
    mean = results["tasks"]["toy-b"]["policy_mean"]
    assert results["aggregate"]["tasks"] == ["toy-b"]
    assert results["aggregate"]["iqm"]["value"] == pytest.approx((mean + 10) / 40)
    assert results["aggregate"]["normalised"]["toy-b"]["scale"] == "(return +10) / 40"
    with pytest.raises(PWMError, match="return range of toy-c: this run has no policy"):
        evaluate_run(run, 2, film_seconds=0, return_ranges={"toy-c": (0.0, 1.0)})
    with pytest.raises(PWMError, match="toy-a: return_range must be two finite numbers, low below high"):
        evaluate_run(run, 2, film_seconds=0, return_ranges={"toy-a": (1.0, 1.0)})


def test_metrics_lines(run):
    results = evaluate_run(run, 2, film_seconds=0)
    lines = [line for line in read_metrics(run) if line["phase"] == "evaluation"]
    assert [(line["task"], line["seed"], line["step"]) for line in lines] == [("toy-a", 0, 7), ("toy-b", 0, 7)]
    for line in lines:
        assert line["return"] == pytest.approx(results["tasks"][line["task"]]["policy_mean"])
        assert line["random_return"] == pytest.approx(results["tasks"][line["task"]]["random_mean"])


def test_films(run, tasks, monkeypatch, capsys):
    evaluate_run(run, 1, film_seconds=0.2)
    film = run / "films" / "toy-a.webp"
    before = film.read_bytes()
    assert before[8:12] == b"WEBP"
    capsys.readouterr()
    evaluate_run(run, 1, film_seconds=0.2)
    assert "Films: skipped 2 of 2" in capsys.readouterr().out
    save_policy(run, tasks[0]["toy-a"], 0, weights=3)
    film.write_bytes(b"of the old policy")
    evaluate_run(run, 1, film_seconds=0.2)
    assert "Films: skipped 1 of 2" in capsys.readouterr().out and film.read_bytes()[8:12] == b"WEBP"


def test_why_there_is_no_film(run, tasks, monkeypatch, capsys):
    monkeypatch.setattr(module, "write_film", lambda *args: "no OpenGL here")
    entry = evaluate_run(run, 1)["tasks"]["toy-a"]
    said = capsys.readouterr().out
    assert "No film of toy-a, toy-b: no OpenGL here\n" in said and "Films:" not in said
    assert entry["film_note"] == "no OpenGL here" and "film" not in entry
    monkeypatch.undo()
    registry.list_tasks()
    monkeypatch.setattr(registry, "_tasks", registry._tasks | tasks[0])
    entry = evaluate_run(run, 1, film_seconds=0.2)["tasks"]["toy-a"]  # tried again, now it works
    assert "film_note" not in entry and (run / "films" / "toy-a.webp").is_file()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"tasks": []}',
        '{"tasks": {"a": 1}, "random": {}, "episodes": 2, "seed": 0}',
        '{"tasks": {"a": {"policies": {"0": {"returns": [1.0]}}}, "b": 1}, "random": {}, "episodes": 2, "seed": 0}',
        '{"tasks": {}, "random": {"toy-a": {"returns": [1.0, null]}}, "episodes": 2, "seed": 0}',
        '{"tasks": {}, "random": {"toy-a": {"returns": [1, 2], "success": [1]}}, "episodes": 2, "seed": 0}',
        '{"tasks": {}, "random": {"toy-a": {"returns": [1, 2], "lengths": ["6", 6]}}, "episodes": 2, "seed": 0}',
    ],
)
def test_damaged_results(run, text):
    (run / "results.json").write_text(text)
    with pytest.raises(PWMError, match=r"results.json: .*delete the file and run `pwm evaluate` again$"):
        evaluate_run(run, 2, film_seconds=0)


def test_wrong_input(run, tasks, tmp_path):
    for arguments in ({"episodes": 0}, {"seed": -1}):
        with pytest.raises(PWMError, match="at least 1 and 0"):
            evaluate_run(run, **arguments)
    with pytest.raises(PWMError, match="nowhere: no such run folder"):
        evaluate_run(tmp_path / "nowhere")
    with pytest.raises(PWMError, match="store: no policies in this run"):
        evaluate_run(tmp_path / "store")
    save_policy(run, toy_task("toy-b", 1, 1), 0)
    with pytest.raises(PWMError, match=r"seed0.*sizes \(1, 1\), but task toy-b has \(2, 1\)"):
        evaluate_run(run)
    save_policy(run, toy_task("a-toy-unknown"), 0)
    with pytest.raises(PWMError, match="unknown task 'a-toy-unknown'"):
        evaluate_run(run)


def test_more_episodes_begin_with_the_same_ones():
    assert evaluation_seeds(0, 20)[:10] == evaluation_seeds(0, 10) != evaluation_seeds(1, 10)
    assert len(set(evaluation_seeds(0, 100))) == 100 and max(evaluation_seeds(0, 100)) < 2**32
