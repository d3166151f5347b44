"""Images whose cells differ come out as planted."""

import numpy as np
import pandas as pd
import pytest

from hpax import atlas
from hpax.analysis import heterogeneity

CLASSES = len(atlas.LOCATIONS)


def hot(*cells):
    return np.array([atlas.multi_hot(cell) for cell in cells])


def test_an_image_is_heterogeneous_if_its_cells_carry_different_sets():
    fields = np.array(["a", "b", "a", "b", "b", "c"])
    labels = hot([0, 2], [16], [0, 2], [16], [16, 14], [1])
    found = heterogeneity.images(fields, labels)
    assert found["heterogeneous"].to_dict() == {"a": False, "b": True}  # c has a single cell
    assert found.loc["b"].tolist() == [3, 2, pytest.approx(1 / 3), True]
    left_out = np.array([False, False, False, False, True, False])
    assert not heterogeneity.images(fields, labels, left_out=left_out)["heterogeneous"].any()
    assert heterogeneity.images(fields[:0], labels[:0]).empty


def test_label_sets_tell_all_sets_apart():
    every = np.array([[bit >> place & 1 for place in range(CLASSES)] for bit in range(0, 1 << CLASSES, 517)])
    assert len(np.unique(heterogeneity.label_sets(every))) == len(every)


def test_cell_lines_are_counted_by_images():
    found = heterogeneity.images(np.repeat(["a", "b", "c"], 2), hot([0], [1], [2], [2], [3], [4]))
    table = heterogeneity.by_cell_line(found, pd.Series({"a": "HeLa", "b": "HeLa", "c": "A-431"}))
    assert table.loc["HeLa"].tolist() == [2, 1, 0.5]
    assert table.loc["A-431"].tolist() == [1, 1, 1.0]


def test_proteins_of_several_places_whose_cells_show_one_at_a_time():
    proteins = np.repeat(["switch", "both", "one", "constant"], 6)
    image = np.repeat(hot([0, 16], [0, 16], [0], [0, 16]), 6, 0)
    cells = np.concatenate([hot([0], [16], [0], [16], [0], [18]), hot(*[[0, 16]] * 6), hot(*[[0]] * 12)])
    table = heterogeneity.single_per_cell(proteins, image, cells)
    assert table["single_located"].to_dict() == {"both": False, "constant": False, "switch": True}
    assert table.loc["switch", ["none", "one", "several"]].tolist() == pytest.approx([1 / 6, 5 / 6, 0])
    assert table.loc["switch", "locations"] == "Nucleoplasm;Cytosol"
