"""Line plots as inline SVG, drawn by matplotlib in the page's CSS colours, which follow light and dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_POINTS = 240
"""Longer curves are averaged down to this many points, since a plot is two hundred pixels wide."""
# Placeholder colours that are replaced in matplotlib's output; unlikely to occur otherwise.
INKS = {
    "#010203": "var(--ink-soft)",
    "#020304": "var(--line)",
    "#030405": "var(--series-1)",
    "#040506": "var(--series-2)",
}
INK, GRID, FIRST, SECOND = INKS


@dataclass(frozen=True)
class Curve:
    """One line of a plot: steps and values [points], its colour, and whether it is heavy, light or dashed."""

    steps: Sequence[float]
    values: Sequence[float]
    colour: str = FIRST
    dashed: bool = False
    light: bool = False


def thin(steps: np.ndarray, values: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Means over at most `most` groups of neighbours; the first and last steps are kept."""
    if len(steps) <= most:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), most)
    short = np.array([steps[group].mean() for group in groups])
    short[0], short[-1] = steps[0], steps[-1]
    return short, np.array([values[group].mean() for group in groups])


def line_plot(
    name: str,
    alt: str,
    curves: Sequence[Curve],
    log: bool = False,
    size: tuple[float, float] = (2.6, 1.75),
    whole: bool = True,
    limits: tuple[float, float] | None = None,
) -> str:
    """An `<svg>` of `curves` against updates.

    Args:
        name: prefix that makes the ids of this plot unique on the page.
        alt: alternative text.
        log: logarithmic value axis; values that are not positive are left out.
        size: width and height in inches for matplotlib; the page scales the plot.
        whole: steps are whole numbers (updates), shown like 20k.
        limits: of the value axis; None: from the curves.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9, "path.simplify_threshold": 0.3}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for curve in curves:
            steps, values = np.asarray(curve.steps, float), np.asarray(curve.values, float)
            keep = np.isfinite(values) & ((values > 0) | (not log))
            style = {"color": curve.colour, "linestyle": (0, (4, 1.6)) if curve.dashed else "-"}
            weight = {"linewidth": 0.8, "alpha": 0.35} if curve.light else {"linewidth": 1.6}
            points = thin(steps[keep], values[keep])
            axes.plot(*points, **style, **weight, marker="o" if len(points[0]) == 1 else "", markersize=3)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True) if whole else MaxNLocator(4, steps=[2.5, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep="") if whole else "{x:g}")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.tick_params(which="both", length=0, colors=INK)
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        axes.margins(x=0.02)
        if limits is not None:
            edge = 0.02 * (limits[1] - limits[0])
            axes.set_ylim(limits[0] - edge, limits[1] + edge)
            axes.set_yticks(np.linspace(*limits, 5))
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline(drawn.getvalue(), name, alt)


def inline(svg: str, name: str, alt: str) -> str:
    """matplotlib's SVG adapted to inline HTML: no header, unique ids, page colours, page font, alternative text."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    for colour, variable in INKS.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", svg)
    box = re.search(r'viewBox="[^"]+"', svg)[0]
    svg = re.sub(
        r"<svg.*?>", f'<svg class="plot" {box} role="img" aria-label="{escape(alt)}">', svg, count=1, flags=re.DOTALL
    )
    return re.sub(r"\n\s*", "\n", svg).replace("xlink:href", "href").strip()
