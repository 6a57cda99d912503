import json
import time
from pathlib import Path

import pytest

from pwm.agents.pwm.learner import FleetLearner
from pwm.pipeline.recipe import RECIPES
from pwm.world_model.pretrain import Pretrainer
from tests.commands import contents
from tests.interrupt import updates_of


@pytest.fixture
def tiny(store):
    return ("quickstart", "--data", store, "--preset", "tiny", "--out")


def test_the_whole_pipeline_twice(pwm, tiny):
    outcome = pwm(*tiny, "run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Data: 288 transitions of toy-a, toy-b" in outcome.out and "skipped" not in outcome.out
    for step in ("World model: 40/40", "Policies: 20/20  imagination 15/15", "Evaluation: 24/24", "Films: 2/2"):
        assert step in outcome.out
    assert "≥ 90 %" in outcome.out and "of 2" in outcome.out and "Report in run/report.html, after " in outcome.out
    run = Path("run")
    results = json.loads((run / "results.json").read_text())
    assert set(results["wall_seconds"]) == {"pretrain", "learn", "evaluate", "films", "total"}
    for entry in results["tasks"].values():
        means = ("policy_mean", "policy_ci", "data_mean", "data_best10_mean", "random_mean")
        assert all(entry[name] is not None for name in means) and (entry["episodes"], entry["seed"]) == (1, 0)
    assert (run / "report.html").read_text().count("data:image/webp") == 2
    record = json.loads((run / "run.json").read_text())
    assert record["command"].startswith("pwm quickstart --data") and record["seed"] == 0

    before = contents(run, "**/*.*")
    outcome = pwm(*tiny, "run")
    assert (outcome.code, outcome.err) == (0, "")
    for step in (
        "World model: skipped",
        "Policies: skipped",
        "Evaluation: skipped 2 of 2",
        "Films: skipped 2 of 2",
    ):
        assert step in outcome.out
    assert contents(run, "**/*.*") == before  # the clock and the report included


def test_stopped_in_every_stage_it_ends_with_the_same_bits(pwm, tiny, monkeypatch):
    import pwm.evaluation.evaluate as evaluation

    assert pwm(*tiny, "whole").code == 0
    clock = 0.0
    for cls, update in ((Pretrainer, 15), (Pretrainer, 33), (FleetLearner, 7), (FleetLearner, 19)):
        with updates_of(cls, stop=update):
            assert pwm(*tiny, "parts").code == 130
        total = sum(json.loads(Path("parts/clock.json").read_text()).values())
        assert total > clock
        clock = total
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "write_film", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        assert pwm(*tiny, "parts").code == 130
    outcome = pwm(*tiny, "parts")
    assert outcome.code == 0 and "Evaluation: skipped 2 of 2" in outcome.out and "Films: 2/2" in outcome.out
    for pattern in ("world_model/*", "policies/**/*.safetensors", "films/*"):
        assert contents(Path("parts"), pattern) == contents(Path("whole"), pattern)
    whole, parts = (json.loads(Path(run, "results.json").read_text()) for run in ("whole", "parts"))
    assert whole["tasks"] == parts["tasks"] and parts["wall_seconds"]["total"] > clock


def test_another_seed_gives_other_policies(pwm, tiny):
    for seed in (0, 1):
        assert pwm(*tiny, f"run{seed}", "--seed", seed, "--no-films").code == 0
    assert contents(Path("run0"), "policies/*/*") != contents(Path("run1"), "policies/*/*")
    assert list(contents(Path("run1"), "policies/toy-a/*")) == ["policies/toy-a/seed1.safetensors"]
    assert json.loads(Path("run1/results.json").read_text())["tasks"]["toy-a"]["seed"] == 1
    assert not Path("run0/films").exists()


def test_the_bundled_sample_in_under_a_minute(pwm):
    begin = time.monotonic()
    outcome = pwm("quickstart", "--preset", "tiny", "--no-films")
    assert (outcome.code, outcome.err) == (0, "")
    assert time.monotonic() - begin < 60
    results = json.loads(Path("runs/quickstart/results.json").read_text())
    assert len(results["tasks"]) >= 4
    for entry in results["tasks"].values():
        assert 0 <= entry["data_mean"] < entry["data_best10_mean"] <= 1000


def test_recipes():
    assert set(RECIPES) == {"quickstart", "tiny"}
    assert RECIPES["quickstart"].episodes == 30
