import json
import re
from html.parser import HTMLParser

import pytest

from pwm.report.page import write_report
from pwm.runtime.errors import PWMError
from tests.report.fake_run import TASKS, WIDE, make_run, make_trained_run, make_wide_run

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


def test_all_tasks_on_one_scale(tmp_path):
    page = page_of(make_wide_run(tmp_path, scale=False))
    checker = Checker(page)
    assert len(checker.ids) == len(set(checker.ids)) and all(checker.pictures)
    aggregate = json.loads((tmp_path / "results.json").read_text())["aggregate"]
    [table] = re.findall(r'<table class="aggregate">.*?</table>', page, flags=re.DOTALL)
    names = ["95 % interval over seeds", "95 % interval over tasks", "95 % interval over tasks, as published"]
    assert re.findall(r'<th scope="col">(.*?)</th>', table) == ["Normalised score", "Value", *names]
    for row, name in zip(re.findall(r"<tr><td.*?</tr>", table), ("iqm", "mean", "median"), strict=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
        entry = aggregate[name]
        assert cells[1] == f"<b>{entry['value']:.3f}</b>"
        known = [" to ".join(f"{x:.3f}" for x in entry[key]) if key in entry else "–" for key in names]
        assert cells[2:] == known
    assert "IQM is the mean of the middle half" in page and "return / 1000; success at the last step" in page
    strips = re.findall(r'<div class="score"><div>(.*?)</div><svg.*?>(.*?)</svg><div>(.*?)</div></div>', page)
    assert [task for task, _, _ in strips] == list(WIDE)
    for task, drawing, value in strips:
        assert drawing.count("<circle") == 3 and drawing.count('class="mean"') == 1
        assert value == f"{aggregate['normalised'][task]['mean']:.3f}"
    assert "Performance profile" in page and "interquartile mean of the normalised scores" in page
    assert "no common scale" in page and "stiff-pendulum" not in "".join(task for task, _, _ in strips)


def test_success_has_columns_and_unknown_data_have_none(tmp_path, quick):
    page = page_of(make_wide_run(tmp_path))
    headings = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page[: page.index("</table>")])
    assert headings == [
        *("Task", "Random", "Policy, mean", "Where the policy stands", "Success, last step", "Success, any step")
    ]
    cells = re.search(r"<tr><td[^>]*>mw-door-open</td>.*?</tr>", page)[0]
    entry = json.loads((tmp_path / "results.json").read_text())["tasks"]["mw-door-open"]
    last, reached = entry["policy_success_mean"], entry["policy_success_any_mean"]
    assert last < reached and f"{100 * last:.0f} %" in cells and f"{100 * reached:.0f} %" in cells
    assert "of the data" not in page[: page.index("All tasks on one scale")].split("Results, task by task")[1]


def test_one_policy_per_task(tmp_path, quick, monkeypatch):
    monkeypatch.setattr("pwm.report.scores.line_plot", lambda *args, **_: "<svg></svg>")
    page = page_of(make_wide_run(tmp_path, seeds=1))
    assert page.count('<td data-label="95 % interval over seeds">undefined</td>') == 3
    assert "as published" not in page and "there is one policy per task. <code>--seeds</code>" in page
    assert 'class="mean"' not in page


def test_a_run_trained_in_the_simulator(tmp_path, quick):
    page = page_of(make_trained_run(tmp_path))
    Checker(page)
    assert (
        "SAC trained two policies for walker-walk in the simulator itself, over 1,000,000 environment steps each"
        in page
    )
    assert "Training in the simulator" in page and "mean over seeds" in page
    assert "imagination" not in page and "The world model" not in page and "has not been" not in page
    assert "policies beat the data" not in page
    assert "from data to report" not in page and "1,000,000</dd>" in page and "steps of training per policy" in page


def test_a_curve_of_one_point_has_no_from_and_to(tmp_path, quick):
    run = make_trained_run(tmp_path, seeds=1)
    assert re.search(r"<figcaption>from [\d.]+ to [\d.]+</figcaption>", page_of(run))
    first = (run / "metrics.jsonl").read_text().splitlines()[0]
    (run / "metrics.jsonl").write_text(first + "\n")
    assert re.search(r"<figcaption>[\d.]+, measured once so far</figcaption>", page_of(run))


def test_a_run_of_one_trained_policy(tmp_path, quick):
    """In the singular, and without a scale for all tasks where there is one, which has none."""
    run = make_trained_run(tmp_path, seeds=1)
    results = json.loads((run / "results.json").read_text())
    results["wall_seconds"] = {"train": 20.0, "total": 30.0}
    results["aggregate"] = {"normalised": {}, "runs": 0, "notes": ["Left out of the aggregate: walker-walk."]}
    (run / "results.json").write_text(json.dumps(results))
    page = page_of(run)
    assert "The policy was evaluated in the simulator over ten episodes; the whole run took 30 s." in page
    assert "environment steps of training<" in page and "of training and evaluation" in page
    assert "one scale" not in page and "Left out" not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": "three"}, "aggregate: runs is 'three'"),
        ({"notes": [3]}, "aggregate: notes is"),
        ({"iqm": 0.5}, "aggregate: iqm is 0.5, expected an object"),
        ({"iqm": {"value": None}}, "aggregate: value is None"),
        ({"mean": {"value": 0.5, "95 % interval over tasks": [1]}}, "aggregate: 95 % interval over tasks is"),
        ({"normalised": {"a": {"runs": [1], "scale": "", "mean": 1}}}, "aggregate: runs is"),
        ({"profile": None}, "aggregate: profile is None"),
    ],
)
def test_a_damaged_aggregate_is_refused_by_name(tmp_path, change, message):
    make_wide_run(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    content["aggregate"] |= change
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(PWMError, match="run 'pwm evaluate' again") as caught:
        write_report(tmp_path)
    assert f"results.json: {message}" in str(caught.value) and "\n" not in str(caught.value)


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


def test_a_page_of_an_imported_model(tmp_path, quick):
    run = make_run(tmp_path, films=False)
    record = json.loads((run / "run.json").read_text())
    record["config"]["import"] = {"file": "<script>.pt"}
    (run / "run.json").write_text(json.dumps(record))
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if "world_model" not in line]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    text = write_report(run).read_text()
    Checker(text)
    assert "Imported from &lt;script&gt;.pt; this run has no losses of it." in text and "<script>.pt" not in text
    assert "has not been pre-trained" not in text
