"""The page's section on all tasks: aggregate statistics with intervals, and every task on one scale."""

from __future__ import annotations

import re
from html import escape

from pwm.evaluation.aggregate import OVER_SEEDS, OVER_TASKS, OVER_TASKS_PUBLISHED
from pwm.report.aggregate import Aggregate, TaskScores, aggregate_rows, score_text, title
from pwm.report.figures import figure, note, section
from pwm.report.plots import Curve, line_plot

MEANINGS = {
    OVER_SEEDS: "other seeds on the same tasks: policies are drawn anew within each task.",
    OVER_TASKS: "other tasks of the same kind: tasks are drawn anew, and policies within them.",
    OVER_TASKS_PUBLISHED: "what the paper’s figures show: tasks are drawn anew for every seed, as if each seed had met "
    "tasks of its own. With several seeds that is too narrow.",
}
WIDTH, MARGIN = 240, 8
QUARTERS = {0.0: "axis", 0.25: "quarter", 0.5: "quarter", 0.75: "quarter", 1.0: "axis"}


def aggregate_section(aggregate: Aggregate | None) -> str:
    """Empty if there is nothing to show."""
    if aggregate is None or not (aggregate.scores or aggregate.notes):
        return ""
    notes = "\n".join(note(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))) for text in aggregate.notes)
    if not aggregate.scores:
        return section("All tasks on one scale", "", notes)
    scales = sorted({entry.scale for entry in aggregate.scores})
    lead = (
        f"Normalised scores ({escape('; '.join(scales))}) of {title(aggregate)}. A policy’s score is its mean over the "
        "episodes. IQM is the mean of the middle half of all scores; mean and median are over the tasks’ means."
    )
    parts = [table(aggregate), meanings(aggregate), notes, strips(aggregate)]
    if len(aggregate.scores) > 1:
        parts.append(profile(aggregate))
    return section("All tasks on one scale", lead, "\n".join(part for part in parts if part))


def table(aggregate: Aggregate) -> str:
    headings = ("Normalised score", "Value", *aggregate.intervals)
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    rows = []
    for name, value, *intervals in aggregate_rows(aggregate):
        cells = [f'<td data-label="">{name}</td>', f'<td data-label="Value"><b>{value}</b></td>']
        cells += [f'<td data-label="{escape(label)}">{x}</td>' for label, x in zip(aggregate.intervals, intervals)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(rows)
    return f'<table class="aggregate">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def meanings(aggregate: Aggregate) -> str:
    """An explanation of each interval."""
    items = "".join(f"<li><b>{escape(name)}</b>: {MEANINGS[name]}</li>" for name in aggregate.intervals)
    return f'<ul class="meanings">{items}</ul>'


def strips(aggregate: Aggregate) -> str:
    """Every task's scores on one axis from 0 to 1, extended if scores lie beyond."""
    values = [score for entry in aggregate.scores for score in entry.runs]
    low, high = min(0.0, *values), max(1.0, *values)
    rows = "\n".join(strip(entry, low, high) for entry in aggregate.scores)
    words = {"one policy": _dot(8)}
    if any(len(entry.runs) > 1 for entry in aggregate.scores):
        words["mean of the task"] = _mark(8)
    items = [f'<svg viewBox="0 0 16 14" aria-hidden="true">{shape}</svg>{text}' for text, shape in words.items()]
    items.append(f"the axis runs from {score_text(low)} to {score_text(high)}, with a line at every quarter of 0 to 1")
    key = "".join(f"<li>{item}</li>" for item in items)
    return f'<div class="scores">\n{rows}\n</div>\n<ul class="key">{key}</ul>'


def strip(entry: TaskScores, low: float, high: float) -> str:
    def place(value: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (value - low) / (high - low)

    quarters = "".join(
        f'<line class="{kind}" x1="{place(x):.1f}" x2="{place(x):.1f}" y1="0" y2="14"/>' for x, kind in QUARTERS.items()
    )
    marks = [_mark(place(entry.mean))] if len(entry.runs) > 1 else []
    marks += [_dot(place(score)) for score in entry.runs]
    alt = f"{entry.task}: {score_text(entry.mean)}"
    drawn = quarters + "".join(marks)
    picture = f'<svg viewBox="0 0 {WIDTH} 14" role="img" aria-label="{escape(alt)}">{drawn}</svg>'
    return f'<div class="score"><div>{escape(entry.task)}</div>{picture}<div>{score_text(entry.mean)}</div></div>'


def profile(aggregate: Aggregate) -> str:
    """The fraction of policies that score above each threshold."""
    thresholds, fraction = aggregate.profile
    half = sum(1 for entry in aggregate.scores for score in entry.runs if score > 0.5)
    whole = sum(len(entry.runs) for entry in aggregate.scores)
    alt = f"Fraction of the policies above a normalised score, from 0 to 1; {half} of {whole} are above 0.5"
    drawing = line_plot("profile", alt, [Curve(thresholds, fraction)], size=(4.6, 2.2), whole=False, limits=(0.0, 1.0))
    caption = "Performance profile: the fraction of all policies whose normalised score is above the one on the axis."
    return figure("How many score higher", drawing, caption, "profile")


def _dot(x: float) -> str:
    return f'<circle class="policy" cx="{x:.1f}" cy="7" r="3.4"/>'


def _mark(x: float) -> str:
    return f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="1" y2="13"/>'
