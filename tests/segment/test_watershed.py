import dataclasses

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import expand_labels

from hpax import simulate
from hpax.metrics import segmentation
from hpax.segment import masks, watershed


def maps_of(mask, reach=1):
    """What a perfect network would say: borders within `reach` pixels of two objects, and objects."""
    near = expand_labels(mask, reach).astype(int)
    high = ndimage.maximum_filter(near, 2 * reach + 1)
    low = ndimage.minimum_filter(np.where(near, near, high), 2 * reach + 1)
    return np.stack([(near > 0) & (low < high), mask > 0], -1).astype(np.float32)


@pytest.fixture(scope="module")
def field():
    (protein,) = simulate.proteome(proteins=1, seed=3)
    return simulate.field(protein, "U-2 OS", 1, seed=3, size=320)


@pytest.fixture(scope="module")
def maps(field):
    return maps_of(field.nuclei), maps_of(field.cells)


def agreement(predicted, true):
    return segmentation.score(segmentation.count(predicted, true))


def zoomed(maps, factor):
    return ndimage.zoom(maps, (factor, factor, 1), order=1, mode="nearest", grid_mode=True)


def test_perfect_maps_give_the_truth_back(field, maps):
    found = watershed.cells_from_maps(*maps, 0.32)
    for mask, truth in ((found.cells, field.cells), (found.nuclei, field.nuclei)):
        scores = agreement(mask, truth)
        assert scores.true >= 10
        assert scores.f1 > 0.95
        assert scores.matched_iou > 0.97


def test_a_cell_and_its_nucleus_share_an_index_and_the_nucleus_lies_inside(maps):
    found = watershed.cells_from_maps(*maps, 0.32)
    inside = found.nuclei > 0
    np.testing.assert_array_equal(found.nuclei[inside], found.cells[inside])
    assert set(np.unique(found.cells)) == set(np.unique(found.nuclei)) == set(range(found.cells.max() + 1))


@pytest.mark.parametrize("factor", [2, 4])
def test_the_pixel_size_changes_nothing_in_micrometres(maps, factor):
    coarse = watershed.cells_from_maps(*maps, 0.32)
    fine = watershed.cells_from_maps(*(zoomed(each, factor) for each in maps), 0.32 / factor)
    for mask, reference in ((fine.cells, coarse.cells), (fine.nuclei, coarse.nuclei)):
        scores = agreement(mask, masks.enlarge(reference, factor))
        assert abs(scores.predicted - scores.true) <= 0.05 * scores.true
        assert scores.matched_iou > 0.9


def test_the_wrong_pixel_size_does(maps):
    assert watershed.nuclei_from_maps(maps[0], 0.02).max() == 0  # as published tools answer to small images


@pytest.mark.parametrize(
    "turn", [lambda maps: maps[::-1], lambda maps: maps[:, ::-1], lambda maps: maps.swapaxes(0, 1)]
)
def test_flipped_and_turned_maps_give_flipped_and_turned_cells(maps, turn):
    cut = [each[:200] for each in maps]  # not square
    found = watershed.cells_from_maps(*cut, 0.32)
    turned = watershed.cells_from_maps(*map(turn, cut), 0.32)
    scores = agreement(turned.cells, turn(found.cells))
    assert scores.f1 == 1
    assert scores.matched_iou > 0.98


@pytest.mark.parametrize(("side", "dtype"), [(18, np.uint16), (265, np.uint32)])
def test_neither_300_nor_70_000_cells_wrap(side, dtype):
    dots = np.zeros((2 * side, 2 * side + 1, 2), np.float32)
    dots[::2, 1::2, 1] = 1
    found = watershed.cells_from_maps(dots, dots, 10.0)  # a pixel is a nucleus
    np.testing.assert_array_equal(found.cells[::2, 1::2].ravel(), np.arange(1, side**2 + 1))
    np.testing.assert_array_equal(found.nuclei, found.cells)
    assert found.cells.dtype == watershed.nuclei_from_maps(dots, 10.0).dtype == dtype


@pytest.mark.parametrize("value", [0.0, 0.03, 1.0])
def test_flat_maps_have_no_cells_or_one(value):
    flat = np.stack([np.zeros((40, 70)), np.full((40, 70), value)], -1).astype(np.float32)
    found = watershed.cells_from_maps(flat, flat, 0.32)
    assert (found.cells == (value == 1)).all()
    assert (found.nuclei == (value == 1)).all()


def blocks(*boxes, shape=(60, 90)):
    """Maps with objects in boxes (top, left, bottom, right)."""
    maps = np.zeros((*shape, 2), np.float32)
    for top, left, bottom, right in boxes:
        maps[top:bottom, left:right, 1] = 1
    return maps


def test_a_border_parts_what_touches_and_belongs_to_the_cells_again():
    nuclei, cell = blocks((20, 10, 40, 30), (20, 52, 40, 72)), blocks((10, 2, 50, 80))
    cell[10:50, 37:45] = 0.5, 0.0  # a border only, wider than what closing bridges
    found = watershed.cells_from_maps(nuclei, cell, 0.32)
    assert found.cells.max() == 2
    assert (found.cells[10:50, 2:38] == 1).all()
    assert (found.cells[10:50, 44:80] == 2).all()
    assert (found.cells[10:50, 37:45] > 0).all()


def test_a_border_between_cells_parts_nuclei_that_touch():
    nuclei, cell = blocks((20, 10, 40, 70)), blocks((10, 2, 50, 80))
    assert watershed.cells_from_maps(nuclei, cell, 0.32).cells.max() == 1
    cell[10:50, 38:42, 0] = 0.5
    found = watershed.cells_from_maps(nuclei, cell, 0.32)
    assert found.nuclei.max() == 2
    assert (found.nuclei > 0).sum() == 20 * 60


@pytest.mark.parametrize(("width", "filled"), [(10, True), (14, False)])
def test_a_notch_is_closed_up_to_the_published_width(width, filled):
    nuclei, cell = blocks((5, 5, 55, 55), shape=(90, 140)), blocks((0, 0, 90, 90), shape=(90, 140))
    cell[40:, 60 : 60 + width, 1] = 0  # a disc of 6 pixels does not enter the narrow one
    found = watershed.cells_from_maps(nuclei, cell, 0.08).cells
    assert found[60, 60 + width // 2] == filled
    assert found[10, 100] == 0


def test_a_nucleus_that_the_cell_map_misses_is_part_of_its_cell():
    nuclei, cell = blocks((20, 10, 40, 40)), blocks((10, 20, 50, 80))
    found = watershed.cells_from_maps(nuclei, cell, 0.32)
    np.testing.assert_array_equal(found.nuclei > 0, nuclei[..., 1] > 0)


def test_areas_are_as_published_in_square_micrometres():
    nuclei = watershed.NUCLEI
    assert dataclasses.astuple(nuclei)[3:] == pytest.approx((3.2, 6.4, 16.0))
    assert (watershed.CELLS.area, watershed.CELLS.closing) == pytest.approx((35.2, 0.48))
    side = 50  # pixels of 0.08 µm: 2,500 of them
    assert watershed.nuclei_from_maps(blocks((5, 5, 5 + side, 5 + side)), 0.08).max() == 1
    assert watershed.nuclei_from_maps(blocks((5, 5, 4 + side, 5 + side)), 0.08).max() == 0
    hole = blocks((0, 0, 60, 90))
    hole[10:41, 10:42, 1] = 0  # 992 pixels
    assert watershed.nuclei_from_maps(hole, 0.08).all()
    hole[41, 10:42, 1] = 0  # 1,024
    assert not watershed.nuclei_from_maps(hole, 0.08).all()


def test_a_cell_without_a_nucleus_is_not_found_and_a_nucleus_without_a_cell_goes_with_it():
    nuclei, cells = blocks((5, 5, 20, 20), (40, 60, 55, 75)), blocks((0, 0, 25, 30), (30, 0, 60, 30))
    found = watershed.cells_from_maps(nuclei, cells, 0.32)
    assert (found.cells > 0).sum() == 25 * 30  # the second nucleus alone is smaller than a cell
    assert (found.nuclei > 0).sum() == 15 * 15


@pytest.mark.usefixtures("untyped")
def test_maps_of_two_shapes_and_pixels_without_size_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        watershed.cells_from_maps(blocks(), blocks(shape=(90, 60)), 0.32)
    for pixel in (0, float("nan")):
        with pytest.raises(ValueError, match="must be positive"):
            watershed.nuclei_from_maps(blocks(), pixel)
