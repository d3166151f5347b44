import numpy as np
import pytest

from hpax import images
from hpax.images import percentile_normalise


@pytest.fixture
def channel():
    rng = np.random.default_rng(0)
    return rng.integers(20, 90, (40, 60)).astype(np.uint8)


def test_quantiles_become_0_and_1(channel):
    bottom, top = np.quantile(channel, (0.1, 0.9), method="inverted_cdf")
    expected = np.clip((channel - float(bottom)) / (float(top) - bottom), 0, 1)
    np.testing.assert_allclose(percentile_normalise(channel, low=0.1, high=0.9), expected, atol=1e-6)


def test_offset_gain_depth_and_outliers_change_nothing(channel):
    expected = percentile_normalise(channel)
    np.testing.assert_array_equal(percentile_normalise(channel + np.uint8(30)), expected)
    np.testing.assert_allclose(percentile_normalise(channel.astype(np.uint16) * 257), expected, atol=1e-6)
    np.testing.assert_allclose(
        percentile_normalise((channel - 20) * np.uint8(3)), percentile_normalise(channel), atol=1e-6
    )
    spoilt = channel.copy()
    spoilt.flat[:3] = 255
    np.testing.assert_allclose(percentile_normalise(spoilt)[1:], expected[1:], atol=0.05)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_flat_channel_is_0(level):
    assert not percentile_normalise(np.full((5, 9), level, np.uint8)).any()
    assert percentile_normalise(np.zeros((0, 9), np.uint8)).shape == (0, 9)


def test_noise_is_not_blown_up():
    noise = np.random.default_rng(0).integers(1000, 1020, (50, 50)).astype(np.uint16)
    assert percentile_normalise(noise).max() < 0.05


@pytest.mark.parametrize("pixels", [1728, 2048, 512])
def test_one_scale_whatever_the_pixels(pixels):
    um_per_pixel = {1728: 0.08, 2048: 0.08, 512: 0.32}[pixels]
    height, width = images.shape_at((pixels, pixels), um_per_pixel, 0.64)
    assert height == width == round(pixels * um_per_pixel / 0.64)


def test_a_padded_image_goes_on_as_its_mirror_image():
    image = np.arange(5 * 7 * 2, dtype=np.uint16).reshape(5, 7, 2)
    padded = images.padded(image, 4)
    assert padded.shape == (8, 8, 2)
    np.testing.assert_array_equal(padded[:5, :7], image)
    np.testing.assert_array_equal(padded[5:, :7], image[4:1:-1])
    assert images.padded(image[:4, :4], 4) is not None


def test_part_of_a_map_is_what_lies_over_the_image():
    plane = np.kron(np.array([[1.0, 9.0], [1.0, 9.0]]), np.ones((2, 2)))
    np.testing.assert_allclose(images.resized_map(plane, (4, 2), part=(1.0, 0.5)), 1.0)
    np.testing.assert_allclose(images.resized_map(plane, plane.shape), plane)
