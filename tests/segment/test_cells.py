import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax.fields import Masks
from hpax.segment.cells import cell_images

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (48, 70, 4), dtype=np.uint8)


def blobs(*boxes, shape=(48, 70)):
    """An index mask of rectangles (index, top, left, height, width)."""
    mask = np.zeros(shape, np.uint16)
    for index, top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = index
    return mask


MASKS = Masks(
    cells=blobs((3, 4, 5, 12, 10), (9, 20, 40, 15, 30), (7, 30, 0, 18, 9), (500, 2, 40, 6, 6)),
    nuclei=blobs((3, 5, 6, 5, 3), (9, 22, 45, 5, 7)),
)


def test_a_crop_of_its_own_size_is_a_window_around_the_nucleus_or_the_box():
    indices, images = cell_images(IMAGE, MASKS, 0.5, crop_um=8, size=16, masked=False)
    assert indices.tolist() == [3, 7, 9, 500]
    wide = np.pad(IMAGE, ((16, 16), (16, 16), (0, 0)))
    for image, (y, x) in zip(images, [(7, 7), (39, 4), (24, 48), (5, 43)], strict=True):
        np.testing.assert_array_equal(image, wide[16 + y - 8 : 16 + y + 8, 16 + x - 8 : 16 + x + 8])


@settings(deadline=None, max_examples=25)
@given(size=st.integers(3, 40), crop_um=st.floats(3, 30))
def test_a_masked_crop_is_0_outside_the_cell_and_inside_as_the_unmasked_one(size, crop_um):
    bright = np.maximum(IMAGE, 100)
    _, whole = cell_images(bright, MASKS, 0.5, crop_um=crop_um, size=size, masked=False)
    _, masked = cell_images(bright, MASKS, 0.5, crop_um=crop_um, size=size, masked=True)
    inside = masked.any(-1)
    np.testing.assert_array_equal(masked[inside], whole[inside])
    whitened = np.zeros_like(bright)
    for row, index in enumerate([3, 7, 9, 500]):
        own = np.broadcast_to(MASKS.cells[..., None] == index, bright.shape)
        _, there = cell_images(np.where(own, 255, whitened), MASKS, 0.5, crop_um=crop_um, size=size, masked=False)
        covered = there[row, ..., 0] / 255  # share of each pixel that the cell covers
        if crop_um / 0.5 >= size:
            assert inside[row][covered > 0.99].all()
            assert not inside[row][covered < 0.01].any()


def test_crops_are_in_micrometres():
    masks = Masks(MASKS.cells.repeat(3, 0).repeat(3, 1), MASKS.nuclei.repeat(3, 0).repeat(3, 1))
    fine = IMAGE.repeat(3, 0).repeat(3, 1)
    options = {"crop_um": 0.48 * 16, "size": 16}
    for masked in (False, True):
        _, images = cell_images(np.full_like(fine, 200), masks, 0.16, masked=masked, **options)
        _, coarse = cell_images(np.full_like(IMAGE, 200), MASKS, 0.48, masked=masked, **options)
        np.testing.assert_allclose(images, coarse, atol=80)  # of 200, where a third of a pixel is beyond the edge


def test_sixteen_bits_become_eight():
    _, eight = cell_images(IMAGE, MASKS, 0.5, crop_um=8, size=16, masked=True)
    _, sixteen = cell_images(IMAGE.astype(np.uint16) * 257 - 100, MASKS, 0.5, crop_um=8, size=16, masked=True)
    np.testing.assert_array_equal(sixteen, eight)


def test_a_nucleus_without_cell_is_none_and_no_cell_no_image():
    nothing = np.zeros((48, 70), np.uint16)
    indices, images = cell_images(IMAGE, Masks(nothing, MASKS.nuclei), 0.5, crop_um=8, size=16, masked=True)
    assert len(indices) == 0
    assert images.shape == (0, 16, 16, 4)


def test_refusals_say_what_to_change():
    options = {"crop_um": 8.0, "size": 16, "masked": True}
    with pytest.raises(ValueError, match=r"one shape, got \(47, 70\), \(48, 70\).*Masks.resized"):
        cell_images(IMAGE[:-1], MASKS, 0.5, **options)
    with pytest.raises(ValueError, match=r"must be positive, got 0"):
        cell_images(IMAGE, MASKS, 0, **options)
