"""What a step was expected to take is said, kept in run.json, and compared with what it took."""

import json
import re

import pytest
import torch

from pwm.agents.pwm.learner import FleetLearner
from pwm.pipeline import pretrain as pretraining
from pwm.pipeline import timed_step
from pwm.pipeline.bench import Bench, bench
from pwm.pipeline.learn import fleets
from pwm.report.record import read_run
from pwm.report.words import expectations
from pwm.runtime.errors import PWMError
from pwm.runtime.estimate import Estimate
from pwm.world_model.pretrain import Pretrainer
from tests.commands import FAST, FAST_POLICY, contents
from tests.interrupt import updates_of


def estimates(run):
    return json.loads((run / "run.json").read_text()).get("estimates", {})


def test_short_work_is_not_estimated(pretrain):
    assert estimates(pretrain()) == {}


def test_an_estimate_is_kept_beside_what_it_took(pwm, pretrain, monkeypatch):
    monkeypatch.setattr(timed_step, "WORTH_IT", 0.0)
    run = pretrain()
    outcome = pwm("learn", "--world-model", run, "--task", "toy-b", *FAST_POLICY)
    assert outcome.code == 0
    assert re.search(r"Expected: \d:\d\d of updates, tensors of", outcome.out) and " times the estimate" in outcome.out
    clock = json.loads((run / "clock.json").read_text())
    found = estimates(run)
    assert len(found) == 2
    for step, entry in found.items():
        assert entry["seconds"] == pytest.approx(clock[step.split()[0]], abs=0.11)
        assert entry["ratio"] == pytest.approx(entry["seconds"] / max(entry["estimated_seconds"], 0.1), abs=1e-3)
        assert entry["estimated_bytes"] > 10_000 and entry["measured"].startswith("updates of")
    before = contents(run, "**/*.*")
    assert pwm("learn", "--world-model", run, "--task", "toy-b", *FAST_POLICY).code == 0
    assert contents(run, "**/*.*") == before


def test_a_resumed_step_keeps_its_first_estimate(pwm, store, monkeypatch, tmp_path):
    monkeypatch.setattr(timed_step, "WORTH_IT", 0.0)
    arguments = ("pretrain", "--data", store, "--out", "run", "--size", "tiny", *FAST)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "estimate_pretrain", lambda *args: Estimate(5.0, 10, "a guess"))
        with updates_of(Pretrainer, stop=5):
            assert pwm(*arguments).code == 130
        [entry] = estimates(tmp_path / "run").values()
        assert entry["estimated_seconds"] == 5.0 and "seconds" not in entry
        patch.undo()
        patch.setattr(pretraining, "estimate_pretrain", lambda *args: 1 / 0)  # not asked again
        patch.setattr(timed_step, "WORTH_IT", 0.0)
        outcome = pwm(*arguments)
    assert outcome.code == 0 and "Expected" not in outcome.out and "times the estimate of 0:05" in outcome.out
    [entry] = estimates(tmp_path / "run").values()
    assert entry["ratio"] == pytest.approx(entry["seconds"] / 5.0, abs=1e-3)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_where_memory_runs_out_the_cure_is_named(pwm, pretrain, monkeypatch, error):
    run = pretrain()

    def full(self):
        raise error

    monkeypatch.setattr(FleetLearner, "update", full)
    outcome = pwm("learn", "--world-model", run, *FAST_POLICY)
    assert outcome.code == 2 and "memory ran out in learn; learn fewer policies at once with --fleet N" in outcome.err


def test_other_errors_stay_bugs(pwm, pretrain, monkeypatch):
    monkeypatch.setattr(FleetLearner, "update", lambda self: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        pwm("learn", "--world-model", pretrain(), *FAST_POLICY)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (None, [("abc", [0, 1])]),
        (6, [("abc", [0, 1])]),
        (5, [("ab", [0, 1]), ("c", [0, 1])]),
        (3, [("a", [0, 1]), ("b", [0, 1]), ("c", [0, 1])]),
        (1, [("a", [0]), ("b", [0]), ("c", [0]), ("a", [1]), ("b", [1]), ("c", [1])]),
    ],
)
def test_fleets_of_bounded_size(most, expected):
    assert [("".join(tasks), seeds) for tasks, seeds in fleets(list("abc"), [0, 1], most)] == expected


def test_fewer_policies_at_once(pwm, pretrain):
    run = pretrain()
    learn = ("learn", "--world-model", run, "--seeds", "2", "--fleet", "1", *FAST_POLICY)
    assert pwm(*learn).code == 0
    assert len(contents(run, "policies/fleet-*")) == 4
    assert sorted(contents(run, "policies/*/*")) == [
        f"policies/toy-{t}/seed{k}.safetensors" for t in "ab" for k in (0, 1)
    ]
    outcome = pwm(*learn)
    assert outcome.code == 0 and outcome.out.count("skipped, 1 learned before") == 4
    assert pwm("learn", "--world-model", run, "--fleet", "0", *FAST_POLICY).code == 2


def test_the_report_tells_how_far_off_it_was(pretrain):
    run = pretrain()
    record = json.loads((run / "run.json").read_text())
    record["estimates"] = {
        "pretrain": {"estimated_seconds": 100.0, "seconds": 125.0},
        "learn fleet-1": {"estimated_seconds": 60.0},
    }
    (run / "run.json").write_text(json.dumps(record))
    assert expectations(read_run(run)) == ["pretrain took 2 min 05 s, 1.25 times the 1 min 40 s expected"]


def test_bench_says_what_it_will_take(pwm):
    sizes = "--size tiny --tasks 2 --batch-size 8 --rollouts 4 --policies 3 --pretrain-updates 10 --updates 10".split()
    outcome = pwm("doctor", "--bench", *sizes, "--device", "cpu")
    assert (outcome.code, outcome.err) == (0, "")
    for words in ("size tiny, 2 tasks", "8 slices", "6 policies asked for"):
        assert words in outcome.out
    for step in ("pretrain", "learn"):  # how long depends on the machine
        assert re.search(rf"^{step} +\d+:\d\d of updates, tensors of", outcome.out, re.MULTILINE)
    outcome = pwm("doctor", "--bench", "--size", "7")
    assert outcome.code == 2 and "choose one of" in outcome.err
    with pytest.raises(PWMError, match="tasks is 0"):
        next(bench(Bench(tasks=0)))
