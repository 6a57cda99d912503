import io
from dataclasses import replace

import pytest
from rich.console import Console

from pwm.evaluation.aggregate import aggregate
from pwm.report.aggregate import aggregate_text
from pwm.report.table import results_table, results_text
from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task
from tests.report.fake_run import results, wide_results


def test_plain_text_is_aligned_and_complete():
    lines = results_text(results()).splitlines()
    assert len(lines) == 5 and not any(line.endswith(" ") for line in lines)
    assert lines[0].split("  ")[0] == "task"
    walker = lines[4].split()
    assert walker == ["walker-walk", "42.2", "431.8", "942.1", "731.5", "691.2", "to", "759.7", "78", "%", "✓", "✗"]
    assert (
        len({line.index(value) + len(value) for line, value in zip(lines[1:], ("857.2", "971.3", "902.6", "731.5"))})
        == 1
    )


def test_rich_table_shows_the_same():
    console = Console(file=io.StringIO(), width=80)
    console.print(results_table(results()))
    text = console.file.getvalue()
    for word in results_text(results()).split():
        assert word in text


def test_columns_are_those_that_the_rows_can_fill():
    assert "success" not in results_text(results())
    lines = results_text(wide_results()).splitlines()
    assert "data" not in lines[0] and lines[0].endswith(
        "95 % interval over episodes  success last step  success any step"
    )
    assert [line.split()[-1] for line in lines[1:3]] == ["–", "–"]
    assert lines[-1].split()[-4:] == ["100", "%", "100", "%"]


def test_the_aggregate_as_text():
    content = wide_results()
    title, head, *rows = aggregate_text(content).splitlines()
    assert title == "Normalised scores of ten tasks, three policies each:"
    assert "  95 % interval over seeds  95 % interval over tasks  95 % interval over tasks, as published" in head
    low, high = content["aggregate"]["iqm"]["95 % interval over tasks"]
    assert rows[0].split()[:2] == ["IQM", f"{content['aggregate']['iqm']['value']:.3f}"]
    assert f"  {low:.3f} to {high:.3f}  " in rows[0] and len(rows) == 3
    one = aggregate_text(wide_results(seeds=1, scale=False)).splitlines()
    assert one[2].split()[2] == "undefined" and "no common scale" in one[-2] and "is undefined" in one[-1]
    assert aggregate_text(results()) == ""


@pytest.mark.parametrize(("tasks", "left"), [(["walker-walk"], ""), (["walker-walk", "stiff-pendulum"], "Left out")])
def test_one_score_is_not_aggregated(tasks, left):
    specs = {"walker-walk": get_task("walker-walk")}
    specs["stiff-pendulum"] = replace(specs["walker-walk"], id="stiff-pendulum", return_range=None)
    content = {"tasks": {task: {"policy_mean": 500.0} for task in tasks}}
    content["aggregate"] = aggregate(specs, {task: {"0": {"returns": [400.0, 600.0]}} for task in tasks})
    text = aggregate_text(content)
    assert text.startswith(left) and text.count("\n") == 0 and "IQM" not in text and "undefined" not in text
    two = {"0": {"returns": [4.0]}, "1": {"returns": [6.0]}}
    content["aggregate"] = aggregate(specs, dict.fromkeys(tasks, two))
    assert "IQM" in aggregate_text(content)  # of two policies


def test_damaged_results():
    with pytest.raises(PWMError, match="policy_mean"):
        results_text({"tasks": {"a": {}}})
