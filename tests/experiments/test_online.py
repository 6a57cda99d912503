"""The experiment on learning on line, at toy size: its parts, their numbers, and that it resumes."""

import pytest

from pwm.experiments import online
from pwm.experiments.online import Run
from pwm.experiments.registry import reproduce
from pwm.runtime.errors import PWMError
from pwm.runtime.files import read_json

RUNS = {"toy-a": Run(("toy-a",), 4, (1e9,), 1), "both": Run(("toy-a", "toy-b"), 4, rounds={"gate": 1.0})}
PARTS = ("toy-a/0", "toy-a/1", "both/0")


@pytest.fixture(autouse=True)
def toy_runs(toys, monkeypatch):
    monkeypatch.setattr(online, "RUNS", RUNS)
    monkeypatch.setattr(online, "PARTS", PARTS)
    monkeypatch.setattr(online, "PUBLISHED", {"toy-a": {"TD-MPC2": 2}})


def run(tmp_path, *only):
    page = reproduce("online", tmp_path, tmp_path / "runs", tiny=True, only=only)
    return read_json(tmp_path / "online.json"), page.read_text()


def test_parts_are_added_in_order_and_not_run_again(tmp_path, monkeypatch):
    run(tmp_path, "toy-a/1")
    record, page = run(tmp_path)
    assert [x["seed"] for x in record["runs"]["toy-a"]] == [x["seed"] for x in record["tasks"]["toy-a"]] == [0, 1]
    assert list(record["runs"]) == ["toy-a", "both"] and list(record["tasks"]) == ["toy-a"]
    entry = record["tasks"]["toy-a"][0]
    results = read_json(tmp_path / "runs" / "online-toy-a-seed0" / "results.json")["tasks"]["toy-a"]
    assert entry["mean"] == pytest.approx(results["policy_mean"], abs=0.06) and entry["episodes"] == 4
    assert entry["worst"] == pytest.approx(min(results["policy_returns"]), abs=0.06)
    assert [len(point) for point in entry["curve"]] == [4] and 0 <= entry["curve"][-1][1] <= entry["cpu_minutes"]
    both = record["runs"]["both"][0]
    assert list(both["tasks"]) == ["toy-a", "toy-b"] and both["rounds"]["gate"] == 1.0
    assert (
        "| toy-a | toy-a | 1 | 4 |" in page
        and "| 1: yes |" in page
        and "| 1e+09: no |" in page
        and "TD-MPC2 2 |" in page
    )
    assert (tmp_path / "online.png").stat().st_size > 1000
    monkeypatch.setattr(online, "run_part", None)
    assert run(tmp_path) == (record, page)


def test_a_part_that_is_none(tmp_path):
    with pytest.raises(PWMError, match="--only toy-a/5: no such part of online; did you mean toy-a/"):
        run(tmp_path, "toy-a/5")
    with pytest.raises(PWMError, match="--only x: no such part of recipe; choose one of none"):
        reproduce("recipe", tmp_path, tmp_path, only=["x"])
    assert not [*tmp_path.iterdir()]
