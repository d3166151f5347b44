"""Corruptions change what they name, by as much as they say."""

import numpy as np

from hpax.ops import corruptions

CROPS = np.random.default_rng(0).integers(0, 200, (2, 16, 16, 3), np.uint8)


def test_gain_scales_and_clips():
    np.testing.assert_array_equal(corruptions.gain(CROPS), np.rint(CROPS * 0.5).astype(np.uint8))
    bright = corruptions.gain(CROPS, factor=2)
    assert bright.dtype == np.uint8
    assert (bright[CROPS > 127] == 255).all()


def test_blur_keeps_the_mean_of_each_channel_and_lowers_its_spread():
    blurred = corruptions.blur(CROPS)
    np.testing.assert_allclose(blurred.mean((1, 2)), CROPS.mean((1, 2)), rtol=0.02)
    assert (blurred.std((1, 2)) < 0.5 * CROPS.std((1, 2))).all()


def test_bleed_through_adds_the_markers_to_the_protein_alone():
    bled = corruptions.bleed_through(CROPS, share=0.3)
    np.testing.assert_array_equal(bled[..., 1:], CROPS[..., 1:])
    expected = np.clip(np.rint(CROPS[..., 0] + 0.3 * CROPS[..., 1:].mean(-1)), 0, 255)
    np.testing.assert_allclose(bled[..., 0], expected, atol=1)


def test_one_marker_bleeds_as_two_do():
    yeast = CROPS[..., :2].astype(np.uint16) * 257
    assert corruptions.bleed_through(yeast).dtype == np.uint16
    assert set(corruptions.CORRUPTIONS) == {"half the gain", "blur of 1 pixel", "bleed-through of 0.3"}
