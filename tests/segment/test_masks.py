import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.segmentation import relabel_sequential
from skimage.transform import resize

from hpax.fields import Masks
from hpax.images import nearest
from hpax.segment import masks

MASKS = arrays.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.integers(0, 5))


@settings(deadline=None, max_examples=100)
@given(MASKS)
def test_numbers_run_from_the_top_and_keep_the_objects(mask):
    found = masks.relabel_sequential(mask)
    seen = [index for index in dict.fromkeys(found.ravel().tolist()) if index]
    assert seen == list(range(1, len(seen) + 1))
    pairs = set(zip(mask.ravel().tolist(), found.ravel().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # one to one
    assert all((a == 0) == (b == 0) for a, b in pairs)


@settings(deadline=None, max_examples=50)
@given(MASKS, st.permutations(range(1, 6)))
def test_how_objects_were_numbered_does_not_matter(mask, order):
    renamed = np.append(0, 1000 * np.array(order))[mask]
    np.testing.assert_array_equal(masks.relabel_sequential(renamed), masks.relabel_sequential(mask))


@pytest.mark.parametrize(("count", "dtype"), [(300, np.uint16), (65_535, np.uint16), (70_000, np.uint32)])
def test_no_index_wraps(count, dtype):
    cells = np.random.default_rng(0).permutation(count).reshape(-1, 5) + 7
    found = masks.compact(cells, cells)
    assert found.cells.dtype == found.nuclei.dtype == dtype
    np.testing.assert_array_equal(found.cells.ravel(), np.arange(1, count + 1))
    np.testing.assert_array_equal(found.nuclei, found.cells)


@settings(deadline=None, max_examples=50)
@given(MASKS, st.data())
def test_a_cell_and_its_nucleus_share_an_index_and_the_nucleus_lies_inside(cells, data):
    nuclei = data.draw(arrays.arrays(np.int32, cells.shape, elements=st.integers(0, 5)))
    found = masks.compact(cells, nuclei)
    np.testing.assert_array_equal(found.nuclei[found.nuclei > 0], found.cells[found.nuclei > 0])
    np.testing.assert_array_equal(found.nuclei > 0, (nuclei == cells) & (cells > 0))


def test_compact_agrees_with_scikit_image_where_indices_are_in_order():
    cells = np.kron([[0, 3], [9, 40]], np.ones((3, 5), int))
    np.testing.assert_array_equal(masks.relabel_sequential(cells), relabel_sequential(cells)[0])


@pytest.mark.usefixtures("untyped")
def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        masks.compact(np.zeros((4, 5), int), np.zeros((5, 4), int))


@pytest.mark.parametrize("shape", [(8, 30), (3, 7), (40, 11), (9, 13)])
def test_resizing_is_nearest_neighbour_in_height_and_width(shape):
    mask = np.random.default_rng(1).integers(0, 400, (9, 13)).astype(np.uint16)
    found = Masks(mask, mask // 2).resized(shape)
    want = resize(mask.astype(float), shape, order=0, anti_aliasing=False, mode="edge")
    centre = [(np.arange(new) + 0.5) * old / new for new, old in zip(shape, mask.shape, strict=True)]
    sure = np.ix_(*(np.abs(place - np.rint(place)) > 1e-6 for place in centre))  # not on the line between two pixels
    np.testing.assert_array_equal(found.cells[sure], want[sure])
    np.testing.assert_array_equal(found.nuclei, found.cells // 2)
    assert found.cells.dtype == np.uint16


def test_whole_factors_repeat_pixels_and_return():
    mask = np.arange(12, dtype=np.uint32).reshape(3, 4)
    large = nearest(mask, (9, 8))
    np.testing.assert_array_equal(large, mask.repeat(3, 0).repeat(2, 1))
    np.testing.assert_array_equal(nearest(large, (3, 4)), mask)


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_holes_of_one_object_are_filled_as_scipy_fills_it_alone(mask):
    filled = masks.fill_holes(mask)
    changed = filled != mask
    assert (mask[changed] == 0).all()
    alone = [ndimage.binary_fill_holes(mask == index) & (mask == 0) for index in range(1, 6)]
    gaps, count = ndimage.label(mask == 0)
    for gap in range(1, count + 1):
        here = gaps == gap
        ring = set(mask[ndimage.binary_dilation(here) & ~here].tolist())
        owners = [index for index, holes in enumerate(alone, 1) if holes[here].all() and ring == {index}]
        assert filled[here].tolist() == [owners[0] if owners else 0] * here.sum()


def test_what_two_objects_enclose_stays_background():
    mask = np.array([[1, 1, 2, 2], [1, 0, 0, 2], [1, 1, 2, 2], [0, 3, 3, 3], [0, 3, 0, 3], [0, 3, 3, 3]])
    want = mask.copy()
    want[4, 2] = 3
    np.testing.assert_array_equal(masks.fill_holes(mask), want)


def test_small_objects_go_and_the_others_keep_their_index():
    mask = np.array([[9, 9, 9], [4, 4, 0], [2, 0, 4]])
    np.testing.assert_array_equal(masks.remove_small(mask, 3), np.where(mask == 2, 0, mask))
    assert masks.remove_small(mask, 4).max() == 0


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_shrinking_averages_and_enlarging_repeats(factor):
    channel = np.random.default_rng(0).uniform(size=(7, 11)).astype(np.float32)
    small = masks.block_mean(channel, factor)
    padded = np.pad(channel, ((0, -7 % factor), (0, -11 % factor)), mode="edge")
    np.testing.assert_allclose(small, block_reduce(padded, factor, np.mean), rtol=1e-6)
    np.testing.assert_allclose(masks.block_mean(masks.enlarge(small, factor), factor), small, rtol=1e-6)
