"""Figures come as PNG and SVG, the same bytes for the same input."""

import numpy as np
import pytest
from PIL import Image
from scipy.cluster import hierarchy

from hpax.explore import figures

random = np.random.default_rng(0)
CELLS = random.normal(size=(12, 3))
PAINTS = {
    "points": figures.points(CELLS[:, :2], ["a", "b"] * 6),
    "heat": figures.heat_map(CELLS, random.permutation(12), np.repeat([1, 2], 6)),
    "violins": figures.violins({"first": CELLS[:, 0], "one cell": CELLS[:1, 0]}, up="score"),
    "intervals": figures.intervals(["p", "q"], *np.array([[2.0, 1.0], [1.5, 0.5], [3.0, 2.0]]), across="variance"),
    "tree": figures.dendrogram(
        hierarchy.linkage(CELLS), [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)]
    ),
    "bars": figures.bars(["HeLa", "A-431"], [0.5, 0.2], across="share"),
}


@pytest.mark.parametrize("name", PAINTS)
def test_a_figure_is_a_picture_and_a_drawing_that_come_out_alike_again(name, tmp_path):
    png, svg = figures.save(tmp_path / "first" / name, PAINTS[name])
    again = figures.save(tmp_path / "again" / name, PAINTS[name])
    assert len(np.unique(np.asarray(Image.open(png)))) > 2
    assert svg.read_text(encoding="utf-8").startswith("<?xml")
    assert [path.read_bytes() for path in again] == [png.read_bytes(), svg.read_bytes()]
