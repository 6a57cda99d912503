import json
import re
from html.parser import HTMLParser

import pytest

from pwm.report.page import write_report
from pwm.runtime.errors import PWMError
from tests.report.fake_run import TASKS, make_run

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects tags, alternative texts and every address; raises where tags do not nest."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.addresses, self.pictures, self.ids = [], [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.addresses += [
            attributes[name] for name in ("src", "href", "srcset", "data", "action") if name in attributes
        ]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "img" or attributes.get("role") == "img":
            self.pictures.append(attributes.get("alt") or attributes.get("aria-label"))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def quick(monkeypatch):
    """Plots as empty drawings: they are most of a page's time."""
    monkeypatch.setattr("pwm.report.figures.line_plot", lambda name, alt, curves, **_: f"<svg>{len(curves)}</svg>")


def page_of(run):
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def test_a_whole_run(tmp_path):
    page = page_of(make_run(tmp_path))
    checker = Checker(page)
    assert all(address.startswith(("data:image/", "#")) for address in checker.addresses)
    assert not {"script", "link", "iframe", "object"} & set(checker.tags) and "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert len(checker.ids) == len(set(checker.ids))
    assert checker.pictures and all(checker.pictures)
    for task, (low, mean, best, policy, *_) in TASKS.items():
        cells = re.search(rf"<tr><td[^>]*>{task}</td>.*?</tr>", page)[0]
        assert all(str(value) in cells for value in (low, mean, best, policy))
        assert f"Imagined return on {task}" in page
    assert page.count('class="yes"') == 7 and page.count('class="no"') == 1
    assert page.count("data:image/webp;base64,") == 2 and page.count("data:image/png;base64,") == 1
    assert "No film of walker-walk: rendering needs EGL or OSMesa, and neither was found." in page
    assert "pwm quickstart --seed 0" in page and "symlog units" in page and "held out" in page
    assert "Pre-training the world model" in page and "4 min 41 s" in page and "Everything else" in page


@pytest.mark.parametrize(
    ("stage", "there", "absent"),
    [
        (
            "started",
            ["No losses yet", "No learning curves yet", "No evaluation yet"],
            ["Latent consistency", "<table>"],
        ),
        ("pretrained", ["Latent consistency", "No learning curves yet", "No evaluation yet"], ["<table>", "Imagined"]),
        ("learned", ["Latent consistency", "Imagined return on", "No evaluation yet"], ["<table>", "No film"]),
    ],
)
def test_an_unfinished_run(tmp_path, stage, there, absent):
    page = page_of(make_run(tmp_path, stage))
    Checker(page)
    assert all(text in page for text in there) and not any(text in page for text in absent)


def test_no_films_at_all(tmp_path, quick):
    page = page_of(make_run(tmp_path, films=False))
    assert "No film of cartpole-swingup, cup-catch, reacher-easy: none was made." in page and "<img" not in page


def test_a_damaged_film_is_left_out(tmp_path, quick):
    run = make_run(tmp_path)
    (run / "films" / "cup-catch.webp").write_bytes(b"RIFF")
    assert "No film of cup-catch: cup-catch.webp is damaged." in page_of(run)


def test_several_seeds_show_their_mean(tmp_path, quick):
    assert "mean over seeds" in page_of(make_run(tmp_path / "a", seeds=3))
    assert "mean over seeds" not in page_of(make_run(tmp_path / "b"))


def test_unit_follows_the_reward_space(tmp_path, quick):
    run = make_run(tmp_path)
    text = (run / "run.json").read_text().replace('"symlog"', '"true"')
    (run / "run.json").write_text(text)
    page = page_of(run)
    assert "own units" in page and "symlog" not in page


def test_text_of_the_run_is_escaped(tmp_path, quick):
    run = make_run(tmp_path / "<i>run")
    content = json.loads((run / "run.json").read_text()) | {"command": "<script>alert(1)</script>"}
    (run / "run.json").write_text(json.dumps(content))
    page = page_of(run)
    assert "<script" not in page and "<i>run" not in page
    Checker(page)


@pytest.mark.parametrize("text", ["{", '{"tasks": {"a": {"policy_mean": "x"}}}', "null", '{"tasks": 3}'])
def test_damaged_results_leave_the_old_report(tmp_path, text):
    run = make_run(tmp_path)
    (run / "report.html").write_text("old")
    (run / "results.json").write_text(text)
    with pytest.raises(PWMError, match="results.json") as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert (run / "report.html").read_text() == "old"


def test_same_run_same_bytes(tmp_path):
    run = make_run(tmp_path)
    assert page_of(run) == page_of(run)
