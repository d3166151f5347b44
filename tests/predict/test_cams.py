"""Maps to cells: by hand where a map is flat in each cell, by brute force where it is not, and always finite."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax.predict import cams


def tiles(rows=2, columns=3, side=8):
    """Index masks of squares numbered in steps of two, with a background row on top of each."""
    y, x = np.indices((rows * side, columns * side))
    cells = 2 * (y // side * columns + x // side) + 3
    return np.where(y % side == 0, 0, cells).astype(np.uint16)


def flat(cells, strengths):
    """A map for each column of `strengths`, as fine as the mask, that is even in every cell."""
    maps = np.zeros((*cells.shape, strengths.shape[1]), np.float32)
    for index, row in zip(np.unique(cells)[1:], strengths, strict=True):
        maps[cells == index] = row
    return maps


def test_a_cell_has_the_share_of_the_field_s_strength():
    cells = tiles()
    strengths = np.array([[4, 0], [2, -3], [1, 2], [0, 0], [-1, 0], [4, 1]], np.float32)
    found = cams.cam_to_cells(flat(cells, strengths), np.array([0.8, 0.5]), cells)
    expected = np.clip(strengths / [4, 2], 0, 1) * [0.8, 0.5]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    found = cams.sigmoid_to_cells(flat(cells, strengths), cells)
    np.testing.assert_allclose(found, scipy.special.expit(strengths), atol=1e-6)


@given(seed=st.integers(0, 99), level=st.sampled_from([-50.0, -1.0, 0.0, 1.0, 1e4]), quantile=st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_scores_are_finite_and_never_above_the_field_s(seed, level, quantile):
    rng = np.random.default_rng(seed)
    maps = (rng.normal(size=(3, 5, 4)) * rng.integers(0, 2, 4) + level).astype(np.float32)
    probabilities, cells = rng.random(4), tiles()
    found = cams.cam_to_cells(maps, probabilities, cells, quantile=quantile)
    assert ((found >= 0) & (found <= probabilities + 1e-6)).all()
    if level <= -50:
        np.testing.assert_allclose(found, np.broadcast_to(probabilities, found.shape), rtol=1e-6)
    assert np.isfinite(cams.sigmoid_to_cells(maps, cells, quantile=quantile)).all()


def test_quantiles_are_those_of_the_enlarged_map_in_each_mask():
    rng = np.random.default_rng(0)
    maps, cells = rng.normal(size=(4, 4, 3)).astype(np.float32), tiles()
    found = cams.in_cells(maps, cells, quantile=0.9)
    for label in range(3):
        plane = cams.enlarged(maps[..., label], cells.shape)
        expected = [np.quantile(plane[cells == index], 0.9) for index in np.unique(cells)[1:]]
        np.testing.assert_allclose(found[:, label], expected, rtol=1e-5)


def test_a_fine_mask_is_looked_at_on_a_grid_and_loses_no_cell():
    rng = np.random.default_rng(1)
    maps, coarse = rng.normal(size=(4, 6, 2)).astype(np.float32), tiles()
    fine = coarse.repeat(20, 0).repeat(20, 1)
    fine[0, 0] = 500  # a single pixel, off the grid
    found, expected = (cams.in_cells(maps, cells) for cells in (fine, coarse.repeat(4, 0).repeat(4, 1)))
    np.testing.assert_allclose(found[:-1], expected, atol=0.1)
    corner = [cams.enlarged(maps[..., label], fine.shape)[0, 0] for label in range(2)]
    np.testing.assert_allclose(found[-1], corner, rtol=1e-6)


@pytest.mark.parametrize("of_field", [cams.in_cells, cams.sigmoid_to_cells])
def test_a_field_without_cells_has_no_rows(of_field):
    empty = np.zeros((9, 7), np.uint16)
    assert of_field(np.ones((2, 2, 5), np.float32), empty).shape == (0, 5)
    assert cams.cam_to_cells(np.ones((2, 2, 5), np.float32), np.ones(5), empty).shape == (0, 5)
