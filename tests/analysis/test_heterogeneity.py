"""Images whose cells differ, and proteins that vary, come out as planted."""

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


def planted(spread, cells=12, fields=3, seed=0, d=5):
    """Proteins whose cells have these standard deviations, in fields that differ far more than cells do."""
    random = np.random.default_rng(seed)
    proteins = np.repeat([f"p{number:02}" for number in range(len(spread))], cells * fields)
    names = np.repeat(np.arange(len(spread) * fields), cells)
    features = 50 * random.normal(size=(len(spread) * fields, d))[names]
    return features + np.repeat(spread, cells * fields)[:, None] * random.normal(size=features.shape), proteins, names


def test_variable_proteins_come_first_whatever_differs_between_fields():
    spread = np.r_[np.full(15, 1.0), np.full(5, 2.0)]
    table = heterogeneity.variability(*planted(spread))
    assert set(table.index[:5]) == {f"p{number}" for number in range(15, 20)}
    assert table["variability"].mean() == pytest.approx(1)
    assert (table["low"] < table["variability"]).all()
    assert (table["variability"] < table["high"]).all()
    assert table["low"].iloc[4] > table["high"].iloc[5:].median()


def test_the_variance_is_that_of_a_textbook_and_intervals_hold_it():
    features, proteins, fields = planted(np.ones(60), seed=1)
    table = heterogeneity.variability(features, proteins, fields, resamples=300)
    by_hand = pd.DataFrame(features).groupby(fields).var(ddof=1).sum(axis=1).groupby(np.arange(180) // 3).mean()
    order = np.argsort(table.index)
    np.testing.assert_allclose(table["variability"].to_numpy()[order], by_hand / by_hand.mean())
    truth = 5 / by_hand.mean()
    covered = ((table["low"] <= truth) & (truth <= table["high"])).mean()
    assert 0.8 < covered <= 1  # 95% nominal; percentile intervals of 36 cells are somewhat short


def test_variability_is_a_function_of_its_seed_and_refuses_what_is_not_finite():
    cells = planted(np.ones(3))
    pd.testing.assert_frame_equal(heterogeneity.variability(*cells), heterogeneity.variability(*cells))
    assert heterogeneity.variability(cells[0][:0], cells[1][:0], cells[2][:0]).empty
    with pytest.raises(ValueError, match="finite"):
        heterogeneity.variability(cells[0] * np.nan, *cells[1:])


def test_too_few_cells_leave_an_empty_table_of_numbers():
    names = np.array(["a", "a", "b"])
    table = heterogeneity.variability(np.zeros((3, 2)), names, names, least=5)
    assert not len(table)
    assert {str(kind) for kind in table.dtypes} == {"int64", "float64"}


def test_a_missing_name_names_nothing():
    column = pd.Series(["p", None, np.nan, "", "nan"], dtype=object)
    assert heterogeneity.names(column).tolist() == ["p", "", "", "", "nan"]
