"""Prints results on the terminal."""

from __future__ import annotations

from typing import Any


def show_results(results: dict[str, Any]) -> None:
    """Print the content of results.json: results per task, how many tasks pass two thresholds, and the aggregate."""
    import sys

    from rich.console import Console

    from pwm.report.aggregate import aggregate_text
    from pwm.report.record import NEAR_BEST, task_results
    from pwm.report.table import results_table, results_text
    from pwm.report.words import percent, tally

    if sys.stdout.isatty():
        Console().print(results_table(results))
    else:
        print(results_text(results))
    rows = task_results(results)
    for answers, what in (
        ([row.beats_data for row in rows], "Above the mean of the data"),
        ([row.near_best for row in rows], f"At {percent(NEAR_BEST)} of the data's ten best episodes, or above"),
    ):
        reached, known = tally(answers)
        if known:
            failed = [row.task for row, answer in zip(rows, answers) if answer is False]
            print(f"{what}: {reached} of {known}" + (f" (not {', '.join(failed)})" if failed else ""))
    if text := aggregate_text(results):
        print(text)
