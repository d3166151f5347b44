"""The pixel size by nuclei: whatever the guess that it starts from, and however the field was scaled."""

import numpy as np
import pytest
from scipy import ndimage

from hpax.segment import pixel_size

TRUE = 0.4  # µm
RADIUS = np.sqrt(pixel_size.NUCLEUS_AREA / np.pi)


def stain(um_per_pixel, seed=0, side=160.0):
    """Round nuclei of a human cell's size in a field of `side` µm, blurred and with noise."""
    rng = np.random.default_rng(seed)
    pixels = round(side / um_per_pixel)
    y, x = (np.mgrid[:pixels, :pixels] + 0.5) * um_per_pixel
    found = np.zeros((pixels, pixels))
    for top in np.arange(20, side, 32):
        for left in np.arange(20, side, 32):
            cy, cx = top + rng.uniform(-4, 4), left + rng.uniform(-4, 4)
            found = np.maximum(found, np.hypot(y - cy, x - cx) < RADIUS * rng.uniform(0.9, 1.1))
    blurred = ndimage.gaussian_filter(found, 0.3 / um_per_pixel)
    return np.clip(10 + 150 * blurred + rng.normal(0, 2, found.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("start", [0.1, TRUE, 1.6])
def test_the_estimate_does_not_depend_on_the_guess(start):
    found = pixel_size.estimate([stain(TRUE)], start)
    assert found.um_per_pixel == pytest.approx(TRUE, rel=0.1)
    assert found.nuclei >= 12


def test_finer_pixels_are_told_from_coarser_ones():
    sizes = [pixel_size.estimate([stain(size)], 0.4).um_per_pixel for size in (0.25, 0.8)]
    assert sizes[1] / sizes[0] == pytest.approx(0.8 / 0.25, rel=0.1)


def test_without_nuclei_nothing_is_estimated():
    noise = np.random.default_rng(0).integers(0, 20, (96, 96)).astype(np.uint8)
    assert pixel_size.estimate([noise], 0.3) is None
    assert pixel_size.estimate([], 0.3) is None
    assert pixel_size.estimate([np.zeros((0, 4), np.uint8)], 0.3) is None
    with pytest.raises(ValueError, match="start must be positive"):
        pixel_size.estimate([noise], 0.0)
