"""`pwm reproduce` from the command line."""

import shutil
from pathlib import Path

import pytest

from pwm.experiments.registry import EXPERIMENTS

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_list_of_experiments(pwm, arguments):
    outcome = pwm("reproduce", *arguments)
    assert outcome.code == 0
    text = " ".join(outcome.out.split())
    assert all(f"{name}: {question}" in text for name, question in EXPERIMENTS.items())


def test_a_toy_run_and_its_page_again(pwm, store, monkeypatch):
    monkeypatch.setattr("pwm.pipeline.quickstart.sample_store_path", lambda: store)
    monkeypatch.setattr("pwm.experiments.quickstart.SEEDS", (0,))
    outcome = pwm("reproduce", "quickstart", "--tiny")
    assert (outcome.code, outcome.err) == (0, "")
    page = Path("runs/reproduce/tiny/quickstart.md")
    assert outcome.out.splitlines()[-1] == f"Page in {page}"
    assert Path("runs/reproduce/runs/tiny/quickstart-seed0/report.html").exists()
    text = page.read_text()
    page.unlink()
    outcome = pwm("reproduce", "quickstart", "--tiny", "--render")
    assert (outcome.code, outcome.out) == (0, f"Page in {page}\n") and page.read_text() == text


def test_only_the_page(pwm, tmp_path):
    shutil.copy(RESULTS / "recipe.json", tmp_path)
    outcome = pwm("reproduce", "recipe", "--render", "--out", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "recipe.md").read_text() == (RESULTS / "recipe.md").read_text()
    assert not Path("runs").exists()


def test_what_is_not_there(pwm):
    outcome = pwm("reproduce", "recipe", "--render")
    assert outcome.code == 2 and outcome.err.startswith("pwm: runs/reproduce/recipe.json: no such file")
    outcome = pwm("reproduce", "recipee")
    assert outcome.code == 2 and "recipee: no such experiment; did you mean recipe?" in outcome.err
