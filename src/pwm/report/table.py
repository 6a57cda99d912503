"""The results, task by task, for the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pwm.report.record import TaskResult, task_results
from pwm.report.words import interval, number, percent, scale

HEADINGS = (
    "task",
    "random",
    "data\nmean",
    "data\nbest 10",
    "policy\nmean",
    "\n95 % interval",
    "of\nbest 10",
    ">\ndata",
    "≥\n90 %",
)
"""Two lines each, so that the table fits a terminal of 80 columns."""
COLUMNS = tuple(" ".join(heading.split()) for heading in HEADINGS)
MARKS = {True: "✓", False: "✗", None: "–"}
STYLES = {True: "bold cyan", False: "bold yellow", None: "dim"}


def cells(row: TaskResult) -> tuple[str, ...]:
    """One row of the table, as plain text, in the order of COLUMNS."""
    means = [number(value, scale(row)) for value in (row.random, row.data, row.best, row.policy)]
    return (row.task, *means, interval(row), percent(row.ratio), MARKS[row.beats_data], MARKS[row.near_best])


def results_table(results: dict[str, Any]) -> Table:
    """The content of results.json as a rich table: one row per task, one mean per column.

    Raises:
        PWMError: `results` lacks a field; the message names it.
    """
    table = Table(
        title="Mean return per episode", title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=0
    )
    for name in HEADINGS:  # a long task id folds before any number does
        table.add_column(name, justify="left" if name == "task" else "right", overflow="fold", vertical="bottom")
    for row in task_results(results):
        *texts, above, near = cells(row)
        texts[4] = Text(texts[4], style="bold")
        marks = [Text(above, STYLES[row.beats_data]), Text(near, STYLES[row.near_best])]
        table.add_row(*texts, *marks)
    return table


def results_text(results: dict[str, Any]) -> str:
    """The same table as plain text of aligned columns, for logs and pipes; no trailing spaces.

    Raises:
        PWMError: `results` lacks a field; the message names it.
    """
    lines = [COLUMNS, *(cells(row) for row in task_results(results))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    pad = [str.ljust, *[str.rjust] * (len(COLUMNS) - 1)]
    return "\n".join("  ".join(f(text, w) for f, text, w in zip(pad, line, widths)).rstrip() for line in lines)
