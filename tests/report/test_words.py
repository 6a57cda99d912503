import json

import pytest

from pwm.report.record import TaskResult, read_run
from pwm.report.words import count, duration, interval, number, parameters, percent, summary
from tests.report.fake_run import make_run


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (857.24, None, "857.2"),
        (0.9, 900.0, "0.9"),
        (1234.5, None, "1,234.5"),
        (0.5, None, "0.500"),
        (3.14159, None, "3.14"),
    ]
    + [(-12.34, None, "−12.3"), (-0.0001, None, "0.000"), (None, None, "–"), (0, None, "0.000")],
)
def test_number(value, scale, text):
    assert number(value, scale) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (552.1, "9 min 12 s")]
    + [(3599.9, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_small_words():
    assert count(1, "policy", "policies") == "one policy" and count(13, "task") == "13 tasks"
    assert parameters(1_426_427) == "1.4 million parameters" and parameters(29_312) == "29,312 parameters"
    assert percent(0.994) == "99 %"
    assert interval(TaskResult("t", 900.0, (0.25, 910.0), 1.0, 1.0, 1.0, 10)) == "0.2 to 910.0"


def test_three_sentences_of_a_whole_run(tmp_path):
    assert summary(read_run(make_run(tmp_path))) == [
        "On 400 logged episodes (200,000 transitions) of four tasks, one world model of 1.2 million parameters was "
        "pre-trained in 4,000 updates.",
        "The model was then frozen, and four policies learned side by side from imagined rollouts of 16 steps inside "
        "it: 1,500 updates in imagination each, without touching the simulator.",
        "Evaluated in the simulator over ten episodes each, the policies beat the mean return of the data on all four "
        "tasks and reach 90 % of its ten best episodes on three of four tasks; the whole run took 9 min 12 s.",
    ]


def test_one_policy_is_spoken_of_in_the_singular(tmp_path):
    run = make_run(tmp_path)
    results = json.loads((run / "results.json").read_text())
    task, entry = next(iter(results["tasks"].items()))
    (run / "results.json").write_text(json.dumps(results | {"tasks": {task: entry}}))
    told = "Evaluated in the simulator over ten episodes, the policy {} the mean return of the data and {} 90 % of"
    assert summary(read_run(run))[2].startswith(told.format("beats", "reaches"))
    results["tasks"] = {task: entry | {"policy_mean": entry["data_mean"] - 1}}
    (run / "results.json").write_text(json.dumps(results))
    assert summary(read_run(run))[2].startswith(told.format("does not beat", "does not reach"))


def test_sentences_of_a_run_that_has_just_begun(tmp_path):
    text = " ".join(summary(read_run(make_run(tmp_path, "started"))))
    assert "has not been pre-trained yet" in text and "No policy" in text and "not been evaluated yet" in text


def test_seeds_count_as_policies(tmp_path):
    assert "12 policies" not in summary(read_run(make_run(tmp_path / "a")))[1]
    assert "twelve policies" in summary(read_run(make_run(tmp_path / "b", seeds=3)))[1]


def test_an_imported_world_model_is_not_called_trained_here(tmp_path):
    run = make_run(tmp_path)
    record = json.loads((run / "run.json").read_text())
    record["config"]["import"] = {"file": "mt30-48M.pt"}
    (run / "run.json").write_text(json.dumps(record))
    assert summary(read_run(run))[0] == (
        "A pre-trained world model of 1.2 million parameters was imported from mt30-48M.pt; start states come from "
        "400 logged episodes (200,000 transitions) of four tasks."
    )
