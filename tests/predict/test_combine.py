"""Combined predictions stay probabilities, and say what their parts say."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax import atlas
from hpax.fields import Masks
from hpax.predict import combine
from hpax.segment import borders

OTHERS = np.arange(19) != atlas.NEGATIVE


def drawn(seed, cells=6):
    rng = np.random.default_rng(seed)
    extreme = rng.integers(0, 2, (cells + 1, 19))
    values = np.where(rng.random((cells + 1, 19)) < 0.3, extreme, rng.random((cells + 1, 19)))
    return values[0], values[1:]


@given(seed=st.integers(0, 200), share=st.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_everything_stays_within_0_and_1(seed, share):
    field, cells = drawn(seed)
    found = [combine.product(field, cells), combine.weighted_mean(field, cells, share=share)]
    found += [combine.negative_excludes(cells), combine.negative_as_complement(cells)]
    found += [combine.ensemble([*found, cells], [share, 1, 0, 2, 3]), combine.weighted(cells, field[: len(cells)])]
    for probabilities in found:
        assert probabilities.shape == cells.shape
        assert ((probabilities >= 0) & (probabilities <= 1 + 1e-12)).all()


def test_products_and_means_have_the_field_or_the_cell_at_their_ends():
    field, cells = drawn(0)
    np.testing.assert_array_equal(combine.product(np.ones(19), cells), cells)
    np.testing.assert_array_equal(combine.weighted_mean(field, cells, share=0), cells)
    np.testing.assert_array_equal(combine.weighted_mean(field, cells, share=1), np.broadcast_to(field, cells.shape))
    np.testing.assert_allclose(combine.weighted_mean(field, cells, share=0.1), 0.9 * cells + 0.1 * field)


def test_together_a_field_counts_half_and_what_is_said_of_its_cells_shares_the_rest():
    (field, cells), (_, maps) = drawn(0), drawn(1)
    np.testing.assert_allclose(combine.fuse(field, [maps, cells]), field / 2 + maps / 4 + cells / 4)
    np.testing.assert_allclose(combine.fuse(field, [cells]), field / 2 + cells / 2)


def test_an_ensemble_of_one_model_is_that_model():
    cells = [drawn(seed)[1] for seed in range(3)]
    np.testing.assert_allclose(combine.ensemble([cells[0]] * 3, [1, 5, 2]), cells[0])
    np.testing.assert_allclose(combine.ensemble(cells), np.mean(cells, 0))
    np.testing.assert_allclose(combine.ensemble(cells, [0, 3, 0]), cells[1])
    np.testing.assert_allclose(combine.ensemble(cells, [1, 2, 3]), combine.ensemble(cells[::-1], [9, 6, 3]))


@pytest.mark.parametrize("weights", [[1], [0, 0], [2, -1]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weight of 0 or more"):
        combine.ensemble([np.ones((2, 19))] * 2, weights)


def test_a_negative_cell_has_nothing_else():
    _, cells = drawn(3)
    cells[0, atlas.NEGATIVE], cells[1, atlas.NEGATIVE] = 1, 0
    found = combine.negative_excludes(cells)
    assert not found[0, OTHERS].any()
    np.testing.assert_array_equal(found[1], cells[1])
    np.testing.assert_array_equal(found[:, atlas.NEGATIVE], cells[:, atlas.NEGATIVE])


def test_negative_is_what_the_others_leave():
    _, cells = drawn(4)
    cells[0, OTHERS], cells[1, 3] = 0, 1
    found = combine.negative_as_complement(cells)
    assert found[0, atlas.NEGATIVE] == 1
    assert found[1, atlas.NEGATIVE] == 0
    np.testing.assert_array_equal(found[:, OTHERS], cells[:, OTHERS])
    np.testing.assert_allclose(found[:, atlas.NEGATIVE], (1 - cells[:, OTHERS]).min(1))
    np.testing.assert_array_equal(combine.negative_as_complement(found), found)


def test_weights_of_cells_are_those_of_their_rows():
    cells = np.zeros((60, 60), np.uint16)
    cells[0:30, 0:20], cells[40:55, 40:55] = 2, 7
    table = borders.cell_properties(Masks(cells, np.where(cells == 7, cells, 0).astype(np.uint16)), um_per_pixel=0.5)
    found = combine.weighted(np.ones((2, 19)), borders.weights(table))
    expected = [600 * 0.25 / borders.EDGE_UM2, 225 * 0.25 / borders.INNER_UM2]
    np.testing.assert_allclose(found, np.tile(expected, (19, 1)).T)
    np.testing.assert_array_equal(combine.weighted(found, borders.has_nucleus(table))[0], 0)


def test_outlying_cells_are_bare_huge_or_debris():
    columns = {
        "relative_size": [1, 1, 4.1, 0.2, 0.2],
        "touches_border": [False, False, True, False, True],
        "nucleus_area_um2": [50.0, 0, 50, 50, 50],
    }
    assert combine.outlying(pd.DataFrame(columns)).tolist() == [False, True, True, True, False]
