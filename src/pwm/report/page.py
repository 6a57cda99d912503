"""`write_report`: turns a run folder into one self-contained HTML page, without scripts or external resources."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from pwm.report.aggregate import Aggregate, read_aggregate, score_text
from pwm.report.figures import film_figures, learning_figures, model_figures, note, section
from pwm.report.notes import notes_section
from pwm.report.record import RunRecord, TaskResult, read_run, unknown_columns
from pwm.report.scores import aggregate_section
from pwm.report.words import ABSENT, cells, count_policies, duration, expectations, number, scale, summary, tally
from pwm.runtime.files import write_atomic

HEADINGS = {
    "task": ("Task", "task"),
    "random": ("Random", ""),
    "data": ("Data, mean", ""),
    "best": ("Data, best ten", ""),
    "policy": ("Policy, mean", "policy"),
    "where": ("Where the policy stands", "where"),
    "ratio": ("Of the best ten", ""),
    "beats_data": ("Beats data", "mark"),
    "near_best": ("≥ 90 % of best", "mark"),
    "success": ("Success, last step", ""),
    "success_any": ("Success, any step", ""),
}
"""Column -> (heading, CSS class)."""
STAGES = {
    "pretrain": "Pre-training the world model",
    "learn": "Learning the policies",
    "online": "Learning on line",
    "evaluate": "Evaluating in the simulator",
    "films": "Filming",
    "train": "Training in the simulator",
}


def write_report(run: Path) -> Path:
    """Write RUN/report.html from what the run folder holds; steps that have not been run are marked as such.

    Raises:
        PWMError: not a run folder, or one of its files is damaged.
    """
    record = read_run(run)
    page = build_page(record).encode()
    target = Path(run) / "report.html"
    write_atomic(target, lambda file: file.write(page))
    return target


def build_page(record: RunRecord) -> str:
    """The whole page as HTML text."""
    name = escape(record.path.resolve().name)
    style = files("pwm.report").joinpath("style.css").read_text(encoding="utf-8")
    sentences = " ".join(escape(sentence) for sentence in summary(record))
    aggregate = read_aggregate(record.results, record.path / "results.json")
    body = "\n".join(
        [
            f'<p class="eyebrow">PWM report</p>\n<h1>{name}</h1>\n<p class="lede">{sentences}</p>',
            tiles(record, aggregate),
            results_section(record),
            aggregate_section(aggregate),
            films_section(record),
            training_section(record),
            online_section(record),
            *(
                []
                if record.trained_in_simulator or record.learned_online
                else [learning_section(record), model_section(record)]
            ),
            notes_section(record),
            clock_section(record),
            foot(record),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name} · PWM report</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def unfinished(title: str, text: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{note(text)}\n</section>"


def tiles(record: RunRecord, aggregate: Aggregate | None) -> str:
    """The main results as a few large numbers."""
    if not record.rows:
        return ""
    above, known = tally(row.beats_data for row in record.rows)
    near, known_near = tally(row.near_best for row in record.rows)
    facts = []
    baseline = record.trained_in_simulator
    if baseline and (steps := record.updates("train")):
        facts.append(
            (f"{steps:,}", "environment steps of training" + (" per policy" if count_policies(record) > 1 else ""))
        )
    if known:
        facts.append((f"{above} <small>of {known}</small>", "policies beat the data’s mean return"))
        facts.append((f"{near} <small>of {known_near}</small>", "reach 90 % of the ten best episodes"))
    if aggregate is not None and len(aggregate.scores) > 1:
        facts.append((score_text(aggregate.statistics["iqm"][0]), "interquartile mean of the normalised scores"))
    if record.parameters:
        million = record.parameters / 1e6
        facts.append(
            (f"{million:.{1 if million >= 1 else 2}f} <small>million</small>", "parameters in the world model")
        )
    if total := record.wall_seconds().get("total"):
        facts.append((escape(duration(total)), "of training and evaluation" if baseline else "from data to report"))
    boxes = "\n".join(f'<div class="tile"><dt>{label}</dt><dd>{value}</dd></div>' for value, label in facts)
    return f'<dl class="tiles">\n{boxes}\n</dl>'


def results_section(record: RunRecord) -> str:
    """The table task by task."""
    title = "Results, task by task"
    if not record.rows:
        return unfinished(title, "No evaluation yet. <code>pwm evaluate</code> on this run adds the table.")
    lead = "Returns per episode. Below the policy’s mean stands its 95 % interval over episodes; higher is better."
    absent = unknown_columns(record.rows)
    columns = [name for name in HEADINGS if name not in absent]
    head = "".join(
        f'<th scope="col"{f" class={kind}" if kind in ("mark", "where") else ""}>{text}</th>'
        for text, kind in (HEADINGS[name] for name in columns)
    )
    rows = "\n".join(table_row(row, columns) for row in record.rows)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return section(title, lead, f"{table}\n{range_key(absent)}")


def table_row(row: TaskResult, columns: Sequence[str]) -> str:
    text = cells(row)
    span = "" if row.interval is None else f"<span>{text['interval']}</span>"
    contents = text | {
        "task": escape(row.task),
        "policy": f"<div><b>{text['policy']}</b>{span}</div>",
        "where": range_drawing(row),
        "beats_data": mark(row.beats_data),
        "near_best": mark(row.near_best),
    }
    fields = []
    for name in columns:
        label, kind = HEADINGS[name]
        style = f' class="{kind}"' if kind not in ("", "task") else ""
        fields.append(f'<td{style} data-label="{label}">{contents[name]}</td>')
    return f"<tr>{''.join(fields)}</tr>"


def mark(answer: bool | None) -> str:
    if answer is None:
        return f'<span class="unknown">{ABSENT}<span class="hidden"> unknown</span></span>'
    kind, sign = ("yes", "✓") if answer else ("no", "✗")
    return f'<span class="{kind}"><span aria-hidden="true">{sign}</span><span class="hidden">{kind}</span></span>'


# Markers in the table's drawings, at x: they differ in shape, not only in colour.
SHAPES = {
    "random": '<circle class="random" cx="{x:.1f}" cy="13" r="3.4"/>',
    "data": '<line class="data" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="20"/>',
    "policy": '<circle class="policy" cx="{x:.1f}" cy="13" r="4.2"/>',
    "best": '<path class="best" d="M{x:.1f} 4.5l7.5 8.5l-7.5 8.5l-7.5 -8.5z"/>',
}


def range_drawing(row: TaskResult) -> str:
    """Random, data, best ten and policy with its interval on one axis, which includes zero."""
    values = [row.policy, row.data, row.best, row.random, *(row.interval or ())]
    known = [value for value in values if value is not None]
    low, high = min(0.0, *known), max(0.0, *known)

    def place(value: float) -> float:
        return 8 + 174 * (value - low) / (high - low) if high > low else 8.0

    parts = ['<line class="axis" x1="8" x2="182" y1="13" y2="13"/>']
    if row.interval is not None:
        left, right = map(place, row.interval)
        parts.append(f'<rect class="band" x="{left - 2:.1f}" y="7" width="{right - left + 4:.1f}" height="12" rx="6"/>')
    for name, shape in SHAPES.items():
        if getattr(row, name) is not None:
            parts.append(shape.format(x=place(getattr(row, name))))
    low_text, high_text, policy = (number(value, scale(row)) for value in (low, high, row.policy))
    alt = f"{row.task}: from {low_text} to {high_text}, policy at {policy}"
    return f'<svg class="range" viewBox="0 0 190 26" role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>'


def range_key(absent: Collection[str]) -> str:
    words = {"random": "random policy", "data": "mean of the data", "best": "its ten best episodes", "policy": "policy"}
    words["policy"] += " (band: 95 % interval over episodes)"
    items = [
        f'<li><svg class="range" viewBox="0 5 16 16" aria-hidden="true">{SHAPES[name].format(x=8)}</svg>{text}</li>'
        for name, text in words.items()
        if name not in absent
    ]
    return f'<ul class="key">{"".join(items)}</ul>'


def films_section(record: RunRecord) -> str:
    figures, missing = film_figures(record)
    parts = [f'<div class="films">\n{chr(10).join(figures)}\n</div>'] if figures else []
    parts += [note(escape(text)) for text in missing]
    if not parts:
        return ""
    return section("The policies at work", "One episode per task, in the simulator.", "\n".join(parts))


def learning_section(record: RunRecord) -> str:
    title = "Learning in imagination"
    panels, many = learning_figures(record, "policy", "imagined_return", "Imagined return")
    if not panels:
        return unfinished(title, "No learning curves yet: no policy has been learned in this run.")
    symlog = record.setting("reward_space") == "symlog"
    unit = "in symlog units (the two-hot mean without symexp)" if symlog else "in the task’s own units"
    lead = (
        f"Return of the imagined rollouts, {unit}, against the policy’s updates. It is what the frozen model promises; "
        "the table above is what the simulator pays."
    )
    return section(title, lead, panels_with_key(panels, many))


def training_section(record: RunRecord) -> str:
    """Learning curves of policies that were trained in the simulator; empty if there are none."""
    panels, many = learning_figures(record, "train", "return", "Return in training")
    if not panels:
        return ""
    lead = (
        "Return of the episodes that training played, against environment steps. The policy explores in them; the "
        "table above shows it without noise."
    )
    return section("Training in the simulator", lead, panels_with_key(panels, many))


def online_section(record: RunRecord) -> str:
    """Learning curves of policies that learned from their own episodes; empty if there are none."""
    drawn = [
        (title, learning_figures(record, "online", key, title))
        for key, title in (
            ("evaluation_return", "Return of the mean actions"),
            ("return", "Return with noise"),
            ("latent_error_h", "Latent error at the horizon, as a share of the variance"),
        )
    ]
    parts = [f"<h3>{title}</h3>{panels_with_key(panels, many)}" for title, (panels, many) in drawn if panels]
    if not parts:
        return ""
    lines = record.lines("online")
    minutes = max(line.get("cpu_seconds", 0.0) for line in lines) / 60
    lead = (
        f"Against real episodes per policy: {max(line['step'] for line in lines)} in all, {minutes:.0f} minutes of "
        "processor time. The policies explore in them."
    )
    return section("Learning on line", lead, "\n".join(parts))


def panels_with_key(panels: Sequence[str], many: bool) -> str:
    key = '<ul class="key"><li><i></i>mean over seeds</li><li><i class="light"></i>one seed</li></ul>' if many else ""
    return f'<div class="panels">\n{chr(10).join(panels)}\n</div>\n{key}'


def model_section(record: RunRecord) -> str:
    title = "The world model"
    panels, held_out = model_figures(record)
    if not panels and record.imported_from is not None:
        return unfinished(title, f"Imported from {escape(record.imported_from)}; this run has no losses of it.")
    if not panels:
        return unfinished(title, "No losses yet: the world model has not been pre-trained in this run.")
    lead = "Losses of pre-training against updates, on a logarithmic axis."
    lead += " Held-out episodes were never trained on." if held_out else ""
    key = '<ul class="key"><li><i></i>training</li><li><i class="second"></i>held out</li></ul>' if held_out else ""
    return section(title, lead, f'<div class="panels two">\n{chr(10).join(panels)}\n</div>\n{key}')


def clock_section(record: RunRecord) -> str:
    """How long each part of the run took, as bars."""
    parts = record.wall_seconds()
    total = parts.pop("total", sum(parts.values()))
    if not parts or total <= 0:
        return ""
    if total - sum(parts.values()) > 0.01 * total:
        parts["everything else"] = total - sum(parts.values())
    rows = []
    for name, seconds in parts.items():
        label = escape(STAGES.get(name, name.replace("_", " ").capitalize()))
        width = min(100.0, 100 * seconds / total)
        bar = f'<div class="bar"><span style="width:{width:.1f}%"></span></div>'
        time = f'<div class="time">{duration(seconds)} <span>{width:.0f} %</span></div>'
        rows.append(f'<div class="stage"><div>{label}</div>{bar}{time}</div>')
    content = f'<div class="clock">\n{chr(10).join(rows)}\n</div>'
    return section("Where the time went", f"{duration(total)} of wall clock in total.", content)


def foot(record: RunRecord) -> str:
    """How to reproduce the run: command, seed, versions, machine, date."""
    run, data = record.run, record.run.get("data") or {}
    command = run.get("command")
    command = " ".join(map(str, command)) if isinstance(command, list) else command
    versions = run.get("versions") or {}
    fingerprint = f" (fingerprint {str(data['fingerprint'])[:16]})" if data.get("fingerprint") else ""
    facts = {
        "Command": f"<code>{escape(str(command))}</code>" if command else "",
        "Seed": escape(str(run.get("seed", ""))),
        "Data": escape(f"{data['path']}{fingerprint}") if data.get("path") else "",
        "Expected": escape(" · ".join(expectations(record))),
        "Machine": escape(str(run.get("machine", ""))),
        "Versions": escape(" · ".join(f"{name} {version}" for name, version in versions.items())),
        "Started": escape(str(run.get("created", "")).replace("T", " ").replace("+00:00", " UTC")),
    }
    lines = "\n".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items() if text)
    return f'<footer class="foot">\n<dl>\n{lines}\n</dl>\n</footer>'
