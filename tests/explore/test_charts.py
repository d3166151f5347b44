"""Charts do not depend on a person's settings, and leave them alone."""

import matplotlib
import numpy as np

from hpax.explore import charts

LINES = {"training": (range(40), np.linspace(1, 0.1, 40)), "validation": ([0, 20], [0.9, 0.5])}


def test_a_chart_is_the_same_whatever_the_settings():
    plain = charts.curves(LINES, title="loss")
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "black", "font.size": 30}):
        before = dict(matplotlib.rcParams)
        np.testing.assert_array_equal(charts.curves(LINES, title="loss"), plain)
        assert dict(matplotlib.rcParams) == before


def test_a_line_is_drawn_where_its_numbers_are():
    flat = charts.curves({"high": ([0, 1, 2], [1.0, 1.0, 1.0]), "low": ([0, 1, 2], [0.0, 0.0, 0.0])}).astype(int)
    blue = np.argwhere((flat[:, 200] == (31, 119, 180)).all(-1))
    orange = np.argwhere((flat[:, 200] == (255, 127, 14)).all(-1))
    assert blue.max() < orange.min()
    assert orange.min() - blue.max() > flat.shape[0] / 2


def test_a_logarithm_changes_the_scale():
    assert not np.array_equal(charts.curves(LINES, log=True), charts.curves(LINES))


def test_intervals_are_drawn_one_above_the_other():
    rows = {"ours": (0.5, 0.4, 0.6), "theirs": (0.3, 0.2, 0.35)}
    few = charts.intervals(rows, across="accuracy", reference=0.1)
    many = charts.intervals({**rows, "third": (0.1, 0.0, 0.2)}, across="accuracy")
    assert few.dtype == np.uint8
    assert few.shape[2] == 3
    assert many.shape[0] > few.shape[0]
    moved = charts.intervals({**rows, "ours": (0.55, 0.4, 0.6)}, across="accuracy", reference=0.1)
    assert (moved != few).any()
