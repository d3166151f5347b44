import numpy as np
import pytest
from skimage.exposure import rescale_intensity

from hpax import images
from hpax.data import preprocess

CROPS = {
    dtype: np.random.default_rng(0).integers(0, np.iinfo(dtype).max // 2, (5, 8, 8, 3), dtype, endpoint=True)
    for dtype in (np.uint8, np.uint16)
}


@pytest.mark.parametrize("dtype", CROPS)
def test_human_crops_equal_scikit_image_s_rescaling_one_by_one(dtype):
    prepared = preprocess.human(CROPS[dtype])
    assert prepared.dtype == np.float32
    for crop, ours in zip(CROPS[dtype] / np.iinfo(dtype).max, prepared, strict=True):
        np.testing.assert_allclose(ours[..., 0], rescale_intensity(crop[..., 0], out_range=(0, 1)), atol=1e-6)
        markers = rescale_intensity(crop[..., 1:], in_range=(0.05, 1), out_range=(0, 1))
        np.testing.assert_allclose(ours[..., 1:], markers, atol=1e-6)


@pytest.mark.parametrize("dtype", CROPS)
def test_yeast_crops_span_the_range_in_every_channel(dtype):
    prepared = preprocess.yeast(CROPS[dtype])
    for crop, ours in zip(CROPS[dtype].astype(float), prepared, strict=True):
        for channel in range(3):
            np.testing.assert_allclose(
                ours[..., channel], rescale_intensity(crop[..., channel], out_range=(0, 1)), atol=1e-6
            )


@pytest.mark.parametrize("prepare", [preprocess.human, preprocess.yeast])
def test_crops_are_prepared_each_on_its_own(prepare):
    together = prepare(CROPS[np.uint8])
    np.testing.assert_array_equal(together, np.stack([prepare(crop) for crop in CROPS[np.uint8]]))


@pytest.mark.parametrize("level", [0, 200])
def test_a_flat_protein_is_dark_and_not_nan(level):
    flat = np.full((1, 8, 8, 3), level, np.uint8)
    assert not preprocess.human(flat)[..., 0].any()
    assert not preprocess.yeast(flat).any()


def test_faint_markers_are_background():
    faint = np.full((1, 4, 4, 3), 12, np.uint8)  # 0.047 of full scale
    assert not preprocess.human(faint).any()
    assert preprocess.human(faint + np.uint8(2))[..., 1:].all()


def test_flips_are_numpy_s():
    crops = images.as_float(CROPS[np.uint8][:4])
    flipped = preprocess.flip(crops, np.array([[False, False], [True, False], [False, True], [True, True]]))
    expected = [crops[0], crops[1][::-1], crops[2][:, ::-1], crops[3][::-1, ::-1]]
    np.testing.assert_array_equal(flipped, expected)
