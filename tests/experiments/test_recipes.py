"""The experiments around the quickstart, at toy size: what they run, what they measure, and that they resume."""

import pytest

from pwm.experiments import precision, quickstart, recipe
from pwm.experiments.registry import reproduce
from pwm.runtime.files import read_json
from pwm.runtime.run_folder import read_run_file
from tests.commands import contents


@pytest.fixture(autouse=True)
def sample(toys, store, monkeypatch):
    """The toy tasks' store stands for the bundled sample."""
    for module in ("pwm.pipeline.quickstart", "pwm.experiments.recipe"):
        monkeypatch.setattr(f"{module}.sample_store_path", lambda: store)


def twice(name, tmp_path, capsys):
    """The numbers and the page of an experiment; the second time, everything is there already."""
    page = reproduce(name, tmp_path / "out", tmp_path / "runs", tiny=True)
    numbers, before = read_json(page.with_suffix(".json")), contents(tmp_path / "runs", "**/*.safetensors")
    assert "skipped" not in capsys.readouterr().out
    reproduce(name, tmp_path / "out", tmp_path / "runs", tiny=True)
    out = capsys.readouterr().out
    assert out.count("Policies: skipped") == len([*(tmp_path / "runs").glob("*/policies")])
    again = read_json(page.with_suffix(".json"))
    assert again.pop("date", 0) == numbers.pop("date", 0) and again == numbers
    assert contents(tmp_path / "runs", "**/*.safetensors") == before
    return numbers, page.read_text()


def results(tmp_path, run):
    return read_json(tmp_path / "runs" / run / "results.json")


def test_quickstart(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "SEEDS", (3,))
    numbers, page = twice("quickstart", tmp_path, capsys)
    assert [run["seed"] for run in numbers["runs"]] == [3]
    for run in numbers["runs"]:
        found = results(tmp_path, f"quickstart-seed{run['seed']}")
        assert run["wall_seconds"] == found["wall_seconds"]
        assert run["command"] == f"pwm quickstart --preset tiny --seed {run['seed']}"
        for task, row in run["tasks"].items():
            assert row == {key: found["tasks"][task][key] for key in quickstart.KEPT}
    assert "policy, seed 3" in page and "| toy-b |" in page


def test_recipe(tmp_path, capsys):
    numbers, page = twice("recipe", tmp_path, capsys)
    runs = {
        "as shipped": "quickstart-seed0",
        "imitation alone": "recipe-policy0",
        "imagination alone": "recipe-policy1",
    }
    assert list(numbers["policies"]) == list(runs) and numbers["episodes"] == 1
    for name, run in runs.items():
        for task, row in numbers["policies"][name].items():
            assert row == {key: results(tmp_path, run)["tasks"][task][key] for key in recipe.KEPT}
        config = read_run_file(tmp_path / "runs" / run)["config"]["policy"]
        assert (config["updates"] == 0) is (name == "imitation alone")
        assert (config["behaviour_updates"] == config["behaviour_weight"] == 0) is (name == "imagination alone")
    shipped, full = (read_run_file(tmp_path / "runs" / f"recipe-model{k}")["config"]["pretrain"] for k in (0, 1))
    assert shipped | {"short_horizons": []} == full
    assert set(numbers["models"]) == {"short horizons first, as shipped", "full horizon from the start"}
    assert all(set(row) == {"toy-a", "toy-b"} for row in numbers["models"].values())
    assert "| imagination alone |" in page and f"{numbers['model_updates']} updates" in page


def test_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "SEEDS", (1,))
    page = reproduce("precision", tmp_path, tmp_path / "runs", tiny=True)
    numbers = read_json(tmp_path / "precision.json")
    assert [(run["precision"], run["seed"]) for run in numbers["runs"]] == [("float32", 1), ("bfloat16", 1)]
    for run in numbers["runs"]:
        name = f"precision-{run['precision']}-seed1"
        config = read_run_file(tmp_path / "runs" / name)["config"]
        assert config["pretrain"]["precision"] == config["policy"]["precision"] == run["precision"]
        assert run["returns"]["toy-a"] == results(tmp_path, name)["tasks"]["toy-a"]["policy_returns"]
        assert not (tmp_path / "runs" / name / "films").exists()
    assert "1 episodes per policy" in page.read_text()


def test_the_interval_of_a_difference():
    made = {"command": "x", "machine": "y", "versions": {"torch": "z"}, "created": "2026-01-01T00:00:00"}
    runs = [
        made | {"precision": name, "returns": {"toy": [mean, mean]}, "seconds": {"pretrain": 1, "learn": 2}}
        for name, mean in (("float32", 100.0), ("bfloat16", 110.0))
        for _ in range(2)
    ]
    assert "| toy | 100, 100 | 110, 110 | +10 [+10, +10] |" in precision.render({"runs": runs})
