import io

import pytest
from rich.console import Console

from pwm.report.table import results_table, results_text
from pwm.runtime.errors import PWMError
from tests.report.fake_run import results


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


def test_damaged_results():
    with pytest.raises(PWMError, match="policy_mean"):
        results_text({"tasks": {"a": {}}})
