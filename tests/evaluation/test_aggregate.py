"""The aggregate of results.json: one scale for all tasks, intervals named for what they are over, none made up."""

import json

import numpy as np
import pytest

from pwm.evaluation.aggregate import (
    OVER_SEEDS,
    OVER_TASKS,
    OVER_TASKS_PUBLISHED,
    aggregate,
    normalised_score,
    scale_of,
)
from pwm.evaluation.statistics import aggregate_iqm, stratified_bootstrap_ci, task_bootstrap_ci
from pwm.tasks.registry import get_task
from pwm.tasks.spec import TaskSpec


def spec(id, score="return", return_range=None):
    return TaskSpec(id, 3, 2, 10, 1, score, dict, return_range)


def scores(*returns, success=None):
    return {"returns": list(returns)} | ({} if success is None else {"success": success})


def test_scores_of_the_field():
    assert normalised_score(get_task("cartpole-swingup"), scores(800.0, 900.0)) == pytest.approx(0.85)
    assert scale_of(get_task("cartpole-swingup")) == "return / 1000"
    success = spec("mw", "success")
    assert normalised_score(success, scores(5.0, 6.0, success=[0.0, 1.0])) == 0.5
    assert normalised_score(success, scores(5.0)) is None
    assert scale_of(success) == "success at the last step"
    pendulum = spec("p", return_range=(-1600.0, 0.0))
    assert normalised_score(pendulum, scores(-400.0)) == 0.75 and scale_of(pendulum) == "(return +1600) / 1600"
    assert normalised_score(spec("free"), scores(1.0)) is None


@pytest.fixture
def specs():
    tasks = [spec("a", return_range=(0, 1000)), spec("b", return_range=(0, 1000)), spec("c", "success"), spec("free")]
    return {task.id: task for task in tasks}


def test_several_tasks_and_seeds(specs):
    random = np.random.default_rng(0)
    table = random.uniform(0, 1, size=(3, 3))
    policies = {
        "a": {str(s): scores(1000 * table[s, 0]) for s in range(3)},
        "b": {str(s): scores(1000 * table[s, 1]) for s in range(3)},
        "c": {str(s): scores(7.0, success=[table[s, 2]]) for s in range(3)},
        "free": {str(s): scores(5.0) for s in range(3)},
    }
    found = json.loads(json.dumps(aggregate(specs, policies)))
    assert found["tasks"] == ["a", "b", "c"] and found["runs"] == 3
    np.testing.assert_allclose([list(found["normalised"][t]["runs"].values()) for t in "abc"], table.T)
    assert found["normalised"]["c"]["mean"] == pytest.approx(table[:, 2].mean())
    exact = np.array([list(found["normalised"][t]["runs"].values()) for t in "abc"]).T
    assert found["iqm"]["value"] == aggregate_iqm(exact)
    assert found["iqm"][OVER_SEEDS] == list(stratified_bootstrap_ci(exact))
    assert found["iqm"][OVER_TASKS] == list(task_bootstrap_ci(exact))
    widths = {name: np.diff(found["mean"][name])[0] for name in (OVER_SEEDS, OVER_TASKS, OVER_TASKS_PUBLISHED)}
    assert 0 < widths[OVER_TASKS_PUBLISHED] < widths[OVER_TASKS] and 0 < widths[OVER_SEEDS]
    assert OVER_TASKS_PUBLISHED not in found["median"]
    assert found["profile"]["thresholds"][25] == 0.5
    assert found["profile"]["fraction"][25] == pytest.approx((table > 0.5).mean())
    [note] = found["notes"]
    assert "no common scale" in note and note.endswith(": free.")


def test_one_policy_per_task_has_no_interval_over_seeds(specs):
    found = aggregate(specs, {"a": {"4": scores(100.0)}, "b": {"4": scores(900.0)}})
    assert found["iqm"] == {"value": 0.5, OVER_SEEDS: None, OVER_TASKS: [pytest.approx(0.1), pytest.approx(0.9)]}
    assert found["notes"] == [
        "The 95 % interval over seeds is undefined: there is one policy per task. `--seeds` of `pwm learn` "
        "or `pwm train` makes more."
    ]


def test_one_task_has_no_interval_over_tasks(specs):
    found = aggregate(specs, {"a": {"0": scores(100.0), "1": scores(300.0)}})
    assert found["median"][OVER_TASKS] is None and OVER_TASKS_PUBLISHED not in found["mean"]
    assert found["mean"][OVER_SEEDS] == [pytest.approx(0.1), pytest.approx(0.3)]
    assert found["notes"] == ["The 95 % interval over tasks is undefined: there is one task."]


def test_unequal_numbers_of_policies_are_told(specs):
    found = aggregate(specs, {"a": {"0": scores(100.0), "1": scores(900.0)}, "b": {"3": scores(300.0)}})
    assert found["runs"] == 1 and found["mean"]["value"] == pytest.approx(0.2)
    assert found["normalised"]["a"]["mean"] == pytest.approx(0.5)
    assert "different numbers of policies; the aggregate takes the first 1 of each" in found["notes"][0]


def test_nothing_on_a_common_scale(specs):
    found = aggregate(specs, {"free": {"0": scores(1.0)}})
    assert found["tasks"] == [] and "iqm" not in found and "free" in found["notes"][0]
    assert aggregate(specs, {})["notes"] == []
