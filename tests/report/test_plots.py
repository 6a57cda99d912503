import re

import numpy as np
import pytest

from pwm.report.plots import MOST_POINTS, Curve, line_plot, thin


def test_thin_keeps_ends_mean_and_short_curves():
    steps = np.arange(1000.0)
    short, values = thin(steps, 2 * steps, 50)
    assert len(short) == len(values) == 50 and (short[0], short[-1]) == (0, 999)
    assert values.mean() == pytest.approx((2 * steps).mean())
    assert thin(steps[:50], steps[:50], 50)[0] is not None and len(thin(steps[:50], steps[:50], 50)[0]) == 50


def test_plot_is_inline_and_follows_the_page():
    svg = line_plot("a", "A <curve>", [Curve(range(5000), np.linspace(1, 2, 5000))])
    assert svg.startswith('<svg class="plot"') and svg.endswith("</svg>")
    assert 'role="img" aria-label="A &lt;curve&gt;"' in svg
    assert "var(--series-1)" in svg and "#030405" not in svg
    assert "http" not in svg and "DejaVu" not in svg and "<?xml" not in svg
    assert max(path.count("L ") for path in re.findall(r' d="([^"]+)"', svg.replace("\n", " "))) <= MOST_POINTS


def test_ids_of_two_plots_differ_and_every_reference_is_met():
    curve = Curve([0, 1], [1, 2])
    ids = [set(re.findall(r' id="([^"]+)"', line_plot(name, "", [curve]))) for name in ("a", "b")]
    assert ids[0] and not ids[0] & ids[1]
    svg = line_plot("a", "", [curve])
    assert set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg)) <= ids[0]


def test_same_curve_same_bytes():
    assert line_plot("a", "", [Curve([0, 1], [1, 2])]) == line_plot("a", "", [Curve([0, 1], [1, 2])])


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0], [float("nan"), 1.0], [-1.0, 2.0], [5.0, 5.0]])
def test_odd_curves_are_drawn_without_a_warning(values, log, recwarn):
    assert "<svg" in line_plot("a", "", [Curve(range(len(values)), values)], log=log)
    assert [str(warning.message) for warning in recwarn] == []
