"""The steps one by one, as commands: they skip, resume, record; an interruption changes no bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pwm.agents.pwm.learner import FleetLearner
from pwm.runtime.metrics import read_metrics
from pwm.world_model.pretrain import Pretrainer
from tests.commands import FAST, FAST_POLICY, contents
from tests.interrupt import updates_of


def test_pretrain_learn_evaluate_report(pwm, pretrain, store):
    run = pretrain()
    outcome = pwm("learn", "--world-model", run, "--task", "toy-b", "--seeds", "2", "--seed", "3", *FAST_POLICY)
    assert (outcome.code, outcome.err) == (0, "") and "Next: pwm evaluate run" in outcome.out
    assert sorted(contents(run, "policies/*/*")) == [f"policies/toy-b/seed{k}.safetensors" for k in (3, 4)]
    outcome = pwm("evaluate", run, "--episodes", "2", "--film-seconds", "0.2")
    assert (outcome.code, outcome.err) == (0, "") and "toy-b" in outcome.out and "Above the mean" in outcome.out
    outcome = pwm("report", run)
    assert (outcome.code, outcome.out, outcome.err) == (0, "Report in run/report.html\n", "")
    page = (run / "report.html").read_text()
    assert "toy-b" in page and "data:image/webp" in page

    record = json.loads((run / "run.json").read_text())
    steps = record["command"].split(" && ")
    assert [step.split()[:2] for step in steps] == [["pwm", "pretrain"], ["pwm", "learn"], ["pwm", "evaluate"]]
    assert steps[2] == "pwm evaluate run --episodes 2 --film-seconds 0.2"
    assert record["data"]["path"] == str(store) and record["data"]["transitions"] == 2 * 12 * 12
    assert [task["id"] for task in record["tasks"]] == ["toy-a", "toy-b"]
    assert record["config"]["pretrain"]["updates"] == record["config"]["policy"]["updates"] == 6
    assert record["config"]["learn"]["seeds"] == [3, 4]
    results = json.loads((run / "results.json").read_text())
    assert set(results["wall_seconds"]) == {"pretrain", "learn", "evaluate", "films", "total"}
    assert results["tasks"]["toy-b"]["data_mean"] is not None


def test_the_same_again_is_skipped(pwm, pretrain, store):
    run = pretrain()
    learn = ("learn", "--world-model", run, *FAST_POLICY)
    assert pwm(*learn).code == 0
    before = contents(run, "**/*.*")
    outcome = pwm("pretrain", "--data", store, "--out", run, "--size", "tiny", *FAST)
    assert outcome.code == 0 and "World model: skipped, pre-trained before (6 updates" in outcome.out
    outcome = pwm(*learn)
    assert outcome.code == 0 and "Policies: skipped, 2 learned before (6 updates" in outcome.out
    assert contents(run, "**/*.*") == before


def test_interrupted_pretraining_resumes_to_the_same_bits(pwm, pretrain, store):
    whole = pretrain("whole")
    with updates_of(Pretrainer, stop=5):
        outcome = pwm("pretrain", "--data", store, "--out", "run", "--size", "tiny", *FAST)
    assert outcome.code == 130 and outcome.err.count("\n") == 1 and "resumes" in outcome.err
    seconds = json.loads(Path("run/clock.json").read_text())["pretrain"]
    assert not Path("run/world_model/weights.safetensors").exists()
    outcome = pwm("pretrain", "--data", store, "--out", "run", "--size", "tiny", *FAST)
    assert outcome.code == 0 and "World model: resumes after update 4 of 6" in outcome.out
    assert contents(Path("run"), "world_model/*") == contents(whole, "world_model/*")
    assert json.loads(Path("run/clock.json").read_text())["pretrain"] > seconds
    assert [line["step"] for line in read_metrics("run")] == [line["step"] for line in read_metrics(whole)]


def test_interrupted_learning_resumes_to_the_same_bits(pwm, pretrain):
    run = pretrain()
    learn = ("learn", "--world-model", run, *FAST_POLICY, "--out")
    assert pwm(*learn, "whole").code == 0
    with updates_of(FleetLearner, stop=3):
        assert pwm(*learn, "parts").code == 130
    outcome = pwm(*learn, "parts")
    assert outcome.code == 0 and "Policies: resume after update 2 of 6" in outcome.out
    whole = contents(Path("whole"), "policies/**/*.safetensors")
    assert len(whole) == 3 and contents(Path("parts"), "policies/**/*.safetensors") == whole


def test_policies_in_a_run_of_their_own(pwm, pretrain, store):
    weights = pretrain() / "world_model" / "weights.safetensors"
    outcome = pwm("learn", "--world-model", weights, "--task", "toy-a", "--out", "own", *FAST_POLICY)
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(Path("own/run.json").read_text())
    assert record["data"]["path"] == str(store) and [task["id"] for task in record["tasks"]] == ["toy-a"]
    assert pwm("evaluate", "own", "--episodes", "1", "--film-seconds", "0").code == 0
    assert pwm("report", "own").code == 0


def test_every_fleet_of_a_run_keeps_its_settings_and_command(pwm, pretrain):
    run = pretrain()
    assert pwm("learn", "--world-model", run, "--task", "toy-a", *FAST_POLICY).code == 0
    assert pwm("learn", "--world-model", run, "--task", "toy-b", *FAST_POLICY, "--gamma", "0.9").code == 0
    record = json.loads((run / "run.json").read_text())
    fleets = list(record["config"]["fleets"].values())
    assert [(f["learn"]["tasks"], f["policy"]["gamma"]) for f in fleets] == [(["toy-a"], 0.99), (["toy-b"], 0.9)]
    stems = [path.stem for path in (run / "policies").glob("fleet-*")]
    assert set(record["config"]["fleets"]) == set(stems) and len(stems) == 2
    assert record["config"]["policy"] == fleets[1]["policy"]  # that of the last one
    steps = record["command"].split(" && ")
    assert [step.split()[1] for step in steps] == ["pretrain", "learn", "learn"] and "0.9" in steps[2]
    assert "toy-a" in steps[1] and "toy-b" in steps[2]


def test_policies_of_another_world_model_are_not_taken_for_its_own(pwm, pretrain):
    learn = ("learn", "--world-model", pretrain(), *FAST_POLICY)
    assert pwm(*learn).code == 0
    for path in Path("run/world_model").iterdir():
        path.unlink()
    pretrain("run", "--seed", "1")
    outcome = pwm(*learn)
    assert outcome.code == 2 and "was made with other world model; use the same world model, or" in outcome.err


def test_a_killed_process(pwm, pretrain, store):
    checkpoint = Path("run/world_model/checkpoint.safetensors")
    more = "--updates 120 --checkpoint-every 20 --evaluate-every 120 --threads 1".split()
    arguments = ["pretrain", "--data", str(store), "--out", "run", "--size", "tiny", *FAST, *more]
    child = subprocess.Popen(
        [sys.executable, "-m", "pwm", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    assert child.communicate(timeout=30)[1] == "" and child.returncode == -signal.SIGKILL
    assert not Path("run/world_model/weights.safetensors").exists()
    outcome = pwm(*arguments)
    assert outcome.code == 0 and "World model: resumes after update" in outcome.out
    pretrain("whole", *more)
    assert contents(Path("run"), "world_model/weights*") == contents(Path("whole"), "world_model/weights*")
