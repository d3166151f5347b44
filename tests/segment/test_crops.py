import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hpax import images
from hpax.segment import crops

FIELD = np.arange(20 * 30 * 2, dtype=np.uint16).reshape(20, 30, 2) + 1


@settings(deadline=None, max_examples=50)
@given(y=st.floats(-15, 35), x=st.floats(-15, 45), size=st.integers(1, 12))
def test_a_crop_is_a_window_of_the_field_padded_with_0(y, x, size):
    wide = np.pad(FIELD, ((40, 40), (40, 40), (0, 0)))
    top, left = int(np.floor(y + 0.5)) - size // 2 + 40, int(np.floor(x + 0.5)) - size // 2 + 40
    (crop,) = crops.cut(FIELD, np.array([[y, x]]), size)
    np.testing.assert_array_equal(crop, wide[top : top + size, left : left + size])
    assert crops.sticks_out(np.array([[y, x]]), size, FIELD.shape[:2])[0] == (crop == 0).any()


def test_no_centres_give_no_crops():
    assert crops.cut(FIELD, np.zeros((0, 2)), 8).shape == (0, 8, 8, 2)
    assert crops.sticks_out(np.zeros((0, 2)), 8, (20, 30)).shape == (0,)


def test_centroids_equal_scipy_s():
    mask = np.random.default_rng(0).integers(0, 5, (30, 40)).astype(np.uint16) * 300
    found = crops.centroids(mask)
    assert list(found) == [300, 600, 900, 1200]
    np.testing.assert_allclose(list(found.values()), ndimage.center_of_mass(mask > 0, mask, list(found)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resizing_keeps_the_mean_the_dtype_and_a_linear_ramp(dtype):
    top = np.iinfo(dtype).max
    ramp = np.rint(np.linspace(0, top, 64))[:, None, None] * np.ones((1, 64, 3))
    small = images.resize(ramp.astype(dtype), (16, 16))
    assert small.dtype == dtype
    assert abs(small.mean() / top - 0.5) < 0.01
    np.testing.assert_allclose(small[2:-2, 0, 0] / top, ((np.arange(16) + 0.5) * 4 - 0.5)[2:-2] / 63, atol=0.01)


def test_a_crop_of_the_right_size_is_left_alone():
    assert images.resize(FIELD[:20, :20], (20, 20)).tolist() == FIELD[:20, :20].tolist()
