import json

import numpy as np
import pytest

from pwm.report.record import TaskResult, count_parameters, read_run, task_results
from pwm.runtime.errors import PWMError
from tests.report.fake_run import make_run, results


def row(policy, data=10.0, best=100.0):
    return TaskResult("t", policy, None, data, best, 0.0, 10)


def test_the_two_bars():
    assert (row(90.0).beats_data, row(90.0).near_best, row(90.0).ratio) == (True, True, 0.9)
    assert row(89.9).near_best is False
    assert row(10.0).beats_data is False  # equal is not better
    assert row(5.0, data=None, best=None).beats_data is None
    assert row(5.0, data=None, best=None).near_best is None


def test_negative_returns_have_no_ratio_but_a_bar():
    assert row(-109.0, best=-100.0).ratio is None
    assert row(-109.0, best=-100.0).near_best is True
    assert row(-111.0, best=-100.0).near_best is False


def test_reads_a_whole_run(tmp_path):
    record = read_run(make_run(tmp_path))
    assert record.tasks == ["cartpole-swingup", "cup-catch", "reacher-easy", "walker-walk"]
    assert record.updates("world_model") == 4000 and record.updates("policy") == 1500
    assert record.parameters == 1_234_000  # the boolean mask does not count
    assert record.data_size() == (400, 200_000)
    assert record.setting("reward_space") == "symlog"


def test_data_size_from_the_manifest_of_a_store(tmp_path):
    run = make_run(tmp_path / "run", "started")
    content = json.loads((run / "run.json").read_text())
    content["data"] = {"path": str(tmp_path / "store")}
    (run / "run.json").write_text(json.dumps(content))
    assert read_run(run).data_size() == (None, None)
    (tmp_path / "store").mkdir()
    tasks = [{"id": "cup-catch", "episodes": 3, "transitions": 30}, {"id": "other", "episodes": 5, "transitions": 50}]
    (tmp_path / "store" / "manifest.json").write_text(json.dumps({"tasks": tasks}))
    assert read_run(run).data_size() == (3, 30)


def change(**fields):
    content = results()
    content["tasks"]["cup-catch"] |= fields
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "'tasks' is missing"),
        ({"tasks": []}, "'tasks' is missing"),
        ({"tasks": {"a": 3}}, "tasks.a is not an object"),
        ({"tasks": {"a": {}}}, "tasks.a.policy_mean is None"),
        (change(policy_mean="high"), "tasks.cup-catch.policy_mean is 'high'"),
        (change(policy_mean=None), "tasks.cup-catch.policy_mean is None"),
        (change(data_mean=float("nan")), "tasks.cup-catch.data_mean is nan"),
        (change(random_mean=True), "tasks.cup-catch.random_mean is True"),
        (change(policy_ci=[1.0]), "tasks.cup-catch.policy_ci is"),
        (change(policy_ci="wide"), "tasks.cup-catch.policy_ci is"),
        ({"tasks": {}, "wall_seconds": {"total": "long"}}, "wall_seconds"),
        ({"tasks": {}, "wall_seconds": [1]}, "wall_seconds"),
    ],
)
def test_damaged_results_are_refused_by_name(content, message):
    with pytest.raises(PWMError, match="run 'pwm evaluate' again") as caught:
        task_results(content, "RUN/results.json")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_absent_means_are_allowed():
    content = change(data_mean=None, data_best10_mean=None, random_mean=None, policy_ci=None)
    assert task_results(content)[1].data is None


def test_not_a_run_folder(tmp_path):
    with pytest.raises(PWMError, match="no such run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(PWMError, match="no run.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(PWMError, match="run.json: not the description of a run"):
        read_run(tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(np.ones(8).tobytes())
    with pytest.raises(PWMError, match="not a readable safetensors file"):
        count_parameters(tmp_path / "weights.safetensors")
    assert count_parameters(tmp_path / "absent.safetensors") is None
