"""`pwm plan`: from a run to one whose policies plan, which is evaluated and reported like any other."""

import json
from pathlib import Path

from pwm.agents.pwm.planned import PlannedPolicy
from tests.commands import FAST_POLICY, contents

FAST_PLAN = "--samples 8 --policy-samples 2 --elites 2 --iterations 2 --horizon 2".split()


def test_plan_evaluate_report(pwm, pretrain):
    import pwm as library

    run = pretrain()
    assert pwm("learn", "--world-model", run, *FAST_POLICY).code == 0
    before = contents(run, "**/*.*")
    outcome = pwm("plan", run, "--out", "planned", *FAST_PLAN)
    assert (outcome.code, outcome.err) == (0, "") and "Next: pwm evaluate planned" in outcome.out
    assert contents(run, "**/*.*") == before
    policy = library.load_policy("planned/policies/toy-a/seed0.safetensors")
    assert isinstance(policy, PlannedPolicy) and policy.planning.samples == 8
    record = json.loads(Path("planned/run.json").read_text())
    assert record["config"]["plan"]["elites"] == 2 and record["command"].startswith("pwm plan run --out planned")
    assert [task["id"] for task in record["tasks"]] == ["toy-a", "toy-b"] and record["data"]["path"]
    outcome = pwm("evaluate", "planned", "--episodes", "1", "--film-seconds", "0")
    assert (outcome.code, outcome.err) == (0, "") and "toy-b" in outcome.out
    assert json.loads(Path("planned/results.json").read_text())["tasks"]["toy-a"]["data_mean"] is not None
    assert pwm("report", "planned").code == 0


def test_what_is_in_the_way_is_named(pwm, pretrain):
    run = pretrain()
    outcome = pwm("plan", run, "--out", "planned", *FAST_PLAN)
    assert outcome.code == 2 and "run `pwm learn` first" in outcome.err
    assert pwm("plan", run, "--out", run).code == 2
    assert pwm("learn", "--world-model", run, "--task", "toy-a", *FAST_POLICY).code == 0
    assert pwm("plan", run, "--out", "planned", *FAST_PLAN).code == 0
    outcome = pwm("plan", run, "--out", "planned", *FAST_PLAN)
    assert outcome.code == 2 and "use another --out" in outcome.err
