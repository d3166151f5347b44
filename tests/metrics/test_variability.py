"""Proteins that vary come out as planted."""

import numpy as np
import pandas as pd
import pytest

from hpax.metrics import variability


def planted(spread, cells=12, fields=3, seed=0, d=5):
    """Proteins whose cells have these standard deviations, in fields that differ far more than cells do."""
    random = np.random.default_rng(seed)
    proteins = np.repeat([f"p{number:02}" for number in range(len(spread))], cells * fields)
    names = np.repeat(np.arange(len(spread) * fields), cells)
    features = 50 * random.normal(size=(len(spread) * fields, d))[names]
    return features + np.repeat(spread, cells * fields)[:, None] * random.normal(size=features.shape), proteins, names


def test_variable_proteins_come_first_whatever_differs_between_fields():
    spread = np.r_[np.full(15, 1.0), np.full(5, 2.0)]
    table = variability.by_protein(*planted(spread))
    assert set(table.index[:5]) == {f"p{number}" for number in range(15, 20)}
    assert table["variability"].mean() == pytest.approx(1)
    assert (table["low"] < table["variability"]).all()
    assert (table["variability"] < table["high"]).all()
    assert table["low"].iloc[4] > table["high"].iloc[5:].median()


def test_the_variance_is_that_of_a_textbook_and_intervals_hold_it():
    features, proteins, fields = planted(np.ones(60), seed=1)
    table = variability.by_protein(features, proteins, fields, resamples=300)
    by_hand = pd.DataFrame(features).groupby(fields).var(ddof=1).sum(axis=1).groupby(np.arange(180) // 3).mean()
    order = np.argsort(table.index)
    np.testing.assert_allclose(table["variability"].to_numpy()[order], by_hand / by_hand.mean())
    truth = 5 / by_hand.mean()
    covered = ((table["low"] <= truth) & (truth <= table["high"])).mean()
    assert 0.8 < covered <= 1  # 95% nominal; percentile intervals of 36 cells are somewhat short


def test_variability_is_a_function_of_its_seed_and_refuses_what_is_not_finite():
    cells = planted(np.ones(3))
    pd.testing.assert_frame_equal(variability.by_protein(*cells), variability.by_protein(*cells))
    assert variability.by_protein(cells[0][:0], cells[1][:0], cells[2][:0]).empty
    with pytest.raises(ValueError, match="finite"):
        variability.by_protein(cells[0] * np.nan, *cells[1:])


def test_too_few_cells_leave_an_empty_table_of_numbers():
    names = np.array(["a", "a", "b"])
    table = variability.by_protein(np.zeros((3, 2)), names, names, least=5)
    assert not len(table)
    assert {str(kind) for kind in table.dtypes} == {"int64", "float64"}


def test_a_missing_name_names_nothing():
    column = pd.Series(["p", None, np.nan, "", "nan"], dtype=object)
    assert variability.names(column).tolist() == ["p", "", "", "", "nan"]
