"""Colours are those of the HPA, and light adds."""

import io

import numpy as np
import pytest
from PIL import Image

from hpax import atlas
from hpax.explore import colour


def image(channels, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).random((2, 5, 7, channels))
    return values.astype(dtype) if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)


def test_each_light_of_a_published_crop_is_one_channel():
    crop = image(3)
    red, green, blue = np.moveaxis(colour.picture(crop), -1, 0)
    for light, name in ((green, "protein"), (blue, "nucleus"), (red, "microtubules")):
        np.testing.assert_array_equal(light, np.rint(255 * crop[..., atlas.CHANNELS.index(name)]))


def test_er_is_yellow_and_adds_to_red_and_green_alone():
    field = image(4) * 0.5
    without = field.copy()
    without[..., atlas.CHANNELS.index("er")] = 0
    added = colour.picture(field).astype(int) - colour.picture(without)
    assert np.abs(added[..., 0] - added[..., 1]).max() <= 1
    assert added[..., 0].max() > 50
    assert not added[..., 2].any()


def test_light_beyond_full_is_clipped_and_never_wraps():
    np.testing.assert_array_equal(colour.picture(np.full((1, 1, 4), 7.0)), np.full((1, 1, 3), 255))
    np.testing.assert_array_equal(colour.picture(np.full((1, 1, 4), -7.0)), np.zeros((1, 1, 3)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_span_their_dtype(dtype):
    whole = image(4, dtype)
    np.testing.assert_array_equal(colour.picture(whole), colour.picture(whole / np.iinfo(dtype).max))


def test_protein_and_structure_share_a_crop_between_them():
    crop = image(3)
    np.testing.assert_array_equal(colour.protein(crop) + colour.structure(crop), colour.picture(crop))
    grey = colour.protein(crop, colour="grey")
    assert (grey == grey[..., :1]).all()
    np.testing.assert_array_equal(grey[..., 0], colour.picture(crop)[..., 1])
    yeast = colour.structure(image(2), colours=("green", "magenta"))
    np.testing.assert_array_equal(yeast[..., 0], yeast[..., 2])
    assert not yeast[..., 1].any()


@pytest.mark.parametrize(
    ("pixels", "colours", "told"),
    [
        (np.zeros((2, 2, 5)), None, "each of 5 channels"),
        (np.zeros((2, 2, 2)), ("green", "mauve"), "mauve"),
        (np.full((2, 2, 1), np.nan), None, "must be finite, 4 are not"),
    ],
)
def test_what_has_no_colour_is_refused(pixels, colours, told):
    with pytest.raises(ValueError, match=told):
        colour.picture(pixels, colours=colours)


def test_png_keeps_every_pixel_and_gives_the_same_bytes():
    picture = colour.picture(image(3))[0]
    np.testing.assert_array_equal(Image.open(io.BytesIO(colour.png(picture))), picture)
    assert colour.png(picture) == colour.png(picture.copy())
