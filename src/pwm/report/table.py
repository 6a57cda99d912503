"""The results per task as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pwm.report.record import TaskResult, task_results, unknown_columns
from pwm.report.words import aligned, cells

HEADINGS = {
    "task": "task",
    "random": "random",
    "data": "data\nmean",
    "best": "data\nbest 10",
    "policy": "policy\nmean",
    "interval": "95 % interval\nover episodes",
    "ratio": "of\nbest 10",
    "beats_data": ">\ndata",
    "near_best": "≥\n90 %",
    "success": "success\nlast step",
    "success_any": "success\nany step",
}
"""Two lines each, so that the table fits a terminal of 80 columns."""
MARKS = {True: "✓", False: "✗", None: "–"}
STYLES = {True: "bold cyan", False: "bold yellow", None: "dim"}


def columns(rows: Sequence[TaskResult]) -> list[str]:
    """The columns for which these rows have values, by their names in HEADINGS."""
    unknown = unknown_columns(rows)
    return [name for name in HEADINGS if name not in unknown]


def results_table(results: dict[str, Any]) -> Table:
    """The content of results.json as a rich table: one row per task, one mean per column.

    Raises:
        PWMError: `results` lacks a field; the message names it.
    """
    table = Table(
        title="Mean return per episode", title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=0
    )
    rows = task_results(results)
    names = columns(rows)
    for name in names:  # long task ids fold, numbers do not
        justify = "left" if name == "task" else "right"
        table.add_column(HEADINGS[name], justify=justify, overflow="fold", vertical="bottom")
    for row in rows:
        styles = {"policy": "bold", "beats_data": STYLES[row.beats_data], "near_best": STYLES[row.near_best]}
        content = cells(row) | _marks(row)
        table.add_row(*(Text(content[name], styles.get(name, "")) for name in names))
    return table


def results_text(results: dict[str, Any]) -> str:
    """The same table as plain text in aligned columns, for logs and pipes; no trailing spaces.

    Raises:
        PWMError: `results` lacks a field; the message names it.
    """
    rows = task_results(results)
    names = columns(rows)
    heads = [" ".join(HEADINGS[name].split()) for name in names]
    contents = [cells(row) | _marks(row) for row in rows]
    return aligned([heads, *([content[name] for name in names] for content in contents)])


def _marks(row: TaskResult) -> dict[str, str]:
    return {name: MARKS[getattr(row, name)] for name in ("beats_data", "near_best")}
