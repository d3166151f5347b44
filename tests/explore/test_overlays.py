"""Outlines lie on the objects' edges, and pictures show all of a field."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import find_boundaries

from hpax import atlas
from hpax.explore import grids, overlays
from hpax.fields import Masks


def blobs(shape=(40, 60), seed=0):
    rng = np.random.default_rng(seed)
    return ndimage.label(ndimage.gaussian_filter(rng.random(shape), 2) > 0.5)[0].astype(np.uint16)


def test_outlines_are_the_inner_boundaries_of_scikit_image():
    mask = blobs()
    mask[10:14, 10:14], mask[10:14, 14:18] = 70, 71  # two that touch
    expected = find_boundaries(mask, mode="inner", connectivity=1, background=0)
    np.testing.assert_array_equal(overlays.outlines(mask), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lines_are_white_and_cyan_and_the_rest_is_the_field(dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(0, np.iinfo(dtype).max, (40, 60, 4), dtype=dtype)
    cells = blobs()
    masks = Masks(cells, np.where(ndimage.binary_erosion(cells, iterations=2), cells, 0).astype(np.uint16))
    picture = overlays.overlay(image, masks)
    lines, inner = overlays.outlines(masks.cells), overlays.outlines(masks.nuclei)
    assert (picture[inner] == overlays.NUCLEI).all()
    assert (picture[lines & ~inner] == overlays.CELLS).all()
    empty = Masks(np.zeros_like(cells), np.zeros_like(cells))
    plain = overlays.overlay(image, empty)
    np.testing.assert_array_equal(picture[~lines & ~inner], plain[~lines & ~inner])
    image[..., atlas.CHANNELS.index("protein")] = 0
    assert (overlays.overlay(image, empty)[..., 1] <= plain[..., 1]).all()  # green is the protein, and the ER's part


def test_a_small_picture_has_the_field_s_proportions_and_its_lines():
    cells = np.zeros((300, 200), np.uint16)
    cells[90:210, 60:140] = 1
    picture = overlays.overlay(np.zeros((300, 200, 4), np.uint8), Masks(cells, cells * 0), side=60)
    white = (picture == overlays.CELLS).all(-1)
    assert picture.shape == (60, 40, 3)
    rows, columns = np.nonzero(white)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 41, 12, 27)
    assert white.sum() == 2 * (24 + 16) - 4


def test_a_sheet_shows_every_picture_whole():
    pictures = [np.full((height, width, 3), shade, np.uint8) for height, width, shade in ((8, 4, 60), (6, 8, 90))] * 2
    sheet = overlays.sheet(pictures[:3], columns=2, title="three")
    counts = {shade: int((sheet == shade).all(-1).sum()) for shade in (60, 90)}
    assert counts == {60: 2 * 32, 90: 48}
    assert (sheet[-1, -1] == grids.PAPER).all()
