"""The report's figures: learning curves per task, losses of the world model, films."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from pwm.report.plots import SECOND, Curve, line_plot
from pwm.report.record import RunRecord, is_number
from pwm.report.words import number

FILM_TYPES = {".webp": "image/webp", ".gif": "image/gif", ".png": "image/png"}
LOSSES = {
    "latent_loss": ("Latent consistency", "squared distance of the rolled-out latent from the encoded one"),
    "reward_loss": ("Reward", "cross-entropy of the two-hot reward, in nats"),
    "termination_loss": ("Termination", "cross-entropy of the predicted end of an episode, in nats"),
}


def series(lines: list[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """(steps, values) of one metric, sorted by step, without entries that are not numbers."""
    known = [line for line in lines if is_number(line.get("step")) and is_number(line.get(key))]
    pairs = sorted((line["step"], line[key]) for line in known)
    return [step for step, _ in pairs], [value for _, value in pairs]


def figure(title: str, picture: str, caption: str = "", kind: str = "") -> str:
    caption = f"\n<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure{f' class={kind}' if kind else ''}>\n<h3>{escape(title)}</h3>\n{picture}{caption}\n</figure>"


def section(title: str, lead: str, content: str) -> str:
    lead = f'<p class="soft">{lead}</p>\n' if lead else ""
    return f"<section>\n<h2>{title}</h2>\n{lead}{content}\n</section>"


def note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def learning_figures(record: RunRecord, phase: str, key: str, name: str) -> tuple[list[str], bool]:
    """Plot the metric `key` of a phase against steps; returns (one panel per task, whether any has several seeds).

    `name` is the metric's name in the alternative text.
    """
    by_task: dict[str, dict[Any, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in record.lines(phase):
        if "task" in line and is_number(line.get(key)):
            by_task[line["task"]][line.get("seed")].append(line)
    panels = []
    for k, task in enumerate(sorted(by_task, key=lambda task: (record.tasks + [task]).index(task))):
        seeds = [series(lines, key) for lines in by_task[task].values()]
        curves = [Curve(*seed, light=len(seeds) > 1) for seed in seeds]
        mean = mean_curve(seeds)
        curves += [Curve(*mean)] if len(seeds) > 1 else []
        ends = [number(value, max(map(abs, mean[1]))) for value in (mean[1][0], mean[1][-1])]
        change = "from " + " to ".join(ends) if len(mean[0]) > 1 else f"{ends[0]}, measured once so far"
        panels.append(figure(task, line_plot(f"{phase}{k}", f"{name} on {task}: {change}", curves), change))
    return panels, any(len(seeds) > 1 for seeds in by_task.values())


def mean_curve(curves: list[tuple[list[float], list[float]]]) -> tuple[list[float], list[float]]:
    """The mean of several curves at the steps that they share (the first curve if they share none)."""
    tables = [dict(zip(*curve)) for curve in curves]
    steps = sorted(set.intersection(*map(set, tables)))
    return (steps, [float(np.mean([table[step] for table in tables])) for step in steps]) if steps else curves[0]


def model_figures(record: RunRecord) -> tuple[list[str], bool]:
    """(one panel per loss, whether any was also measured on held-out episodes)."""
    lines = record.lines("world_model")
    panels, any_held_out = [], False
    for key, (title, meaning) in LOSSES.items():
        training, held_out = series(lines, key), series(lines, f"held_out_{key}")
        if not training[0] and not held_out[0]:
            continue
        any_held_out |= bool(held_out[0])
        curves = [Curve(*training)] if training[0] else []
        curves += [Curve(*held_out, colour=SECOND, dashed=True)] if held_out[0] else []
        ends = [
            f"{word} {value[1][-1]:.3g}" for word, value in (("training", training), ("held out", held_out)) if value[0]
        ]
        alt = f"{title} loss of the world model against updates; at the end {', '.join(ends)}"
        caption = f"{meaning[0].upper()}{meaning[1:]}. At the end: {', '.join(ends)}."
        panels.append(figure(title, line_plot(f"model-{key}", alt, curves, log=True, size=(4.6, 2.2)), caption))
    return panels, any_held_out


def film_figures(record: RunRecord) -> tuple[list[str], list[str]]:
    """(one figure per film, reasons for missing films as plain text). Both are empty before the evaluation."""
    folder = record.path / "films"
    rows = {row.task: row for row in record.rows}
    figures, without = [], defaultdict(list)
    for task in record.tasks:
        film = next((path for kind in FILM_TYPES if (path := folder / f"{task}{kind}").is_file()), None)
        drawn = film_figure(task, film, rows.get(task)) if film else None
        if drawn:
            figures.append(drawn)
        elif task in rows:
            reason = rows[task].film_note or (record.results or {}).get("film_note")
            damaged = f"{film.name} is damaged" if film else "none was made"
            without[str(reason) if reason else damaged].append(task)
    return figures, [f"No film of {', '.join(tasks)}: {reason.rstrip('.')}." for reason, tasks in without.items()]


def film_figure(task: str, film: Path, row: Any) -> str | None:
    """The film inlined as base64; None if the file is not a readable picture."""
    from PIL import Image, UnidentifiedImageError

    data = film.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            (width, height), frames = image.size, getattr(image, "n_frames", 1)
    except (UnidentifiedImageError, OSError, ValueError):
        return None
    what = f"{'Animation' if frames > 1 else 'Picture'} of the learned policy on {task}"
    source = f"data:{FILM_TYPES[film.suffix]};base64,{base64.b64encode(data).decode()}"
    image = f'<img src="{source}" width="{width}" height="{height}" alt="{escape(what)}">'
    caption = f"mean return {number(row.policy)}" if row is not None else ""
    return figure(task, f'<div class="scroll">{image}</div>', caption)
