"""The table of experiments, and the committed pages, which are those of the committed numbers."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pwm.experiments import registry
from pwm.experiments.registry import EXPERIMENTS, find_experiment, render, reproduce
from pwm.runtime.errors import PWMError
from pwm.runtime.files import write_json

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_page_is_that_of_its_numbers(name, tmp_path):
    shutil.copy(RESULTS / f"{name}.json", tmp_path)
    page = render(name, tmp_path)
    assert page.read_text() == (RESULTS / f"{name}.md").read_text()
    assert f"`pwm reproduce {name} --render`" in page.read_text()
    for picture in RESULTS.glob(f"{name}.png"):
        drawn, committed = (Image.open(path) for path in (tmp_path / picture.name, picture))
        assert drawn.size == committed.size and len(drawn.convert("L").getcolors()) > 10
    assert {path.suffix for path in tmp_path.iterdir()} == {path.suffix for path in RESULTS.glob(f"{name}.*")}


def test_results_are_numbers_pages_and_pictures():
    assert {path.suffix for path in RESULTS.iterdir()} == {".json", ".md", ".png"}


def test_a_name_that_is_none():
    with pytest.raises(PWMError, match="quickstrat: no such experiment; did you mean quickstart?"):
        find_experiment("quickstrat")
    with pytest.raises(PWMError, match="choose one of quickstart, recipe"):
        find_experiment("x")


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("record", [{}, [], {"runs": []}, {"runs": [{"tasks": 3}], "policies": {}}])
def test_numbers_of_something_else(name, record, tmp_path):
    write_json(tmp_path / f"{name}.json", record)
    with pytest.raises(PWMError, match=f"not the numbers of {name}"):
        render(name, tmp_path)
    assert len([*tmp_path.iterdir()]) == 1


def test_numbers_that_are_not_there(tmp_path):
    with pytest.raises(PWMError, match="recipe.json: no such file"):
        render("recipe", tmp_path)


def test_running_writes_numbers_and_page(tmp_path, monkeypatch):
    class Counting:
        @staticmethod
        def run(runs, tiny):
            return {"runs": str(runs), "tiny": tiny, "note": "By hand."}

        @staticmethod
        def render(record):
            return f"# {record['runs']}, {record['tiny']}\n"

        @staticmethod
        def draw(record):
            return b"picture"

    monkeypatch.setattr(registry, "find_experiment", lambda name: Counting)
    page = reproduce("counting", tmp_path / "out", "runs", tiny=True)
    assert page.read_text().startswith("# runs, True\n\nBy hand.\n\nRendered from [counting.json](counting.json) by")
    assert (tmp_path / "out" / "counting.png").read_bytes() == b"picture"
