"""What is resampled and spread on devices is what Pillow and SciPy make of it on the host."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from hpax.data import augment, image_batches
from hpax.ops import mix, resample

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (30, 26, 4)).astype(np.uint8)
EXTENT = np.array(IMAGE.shape[:2], np.int32)
STAYS = np.zeros(3, bool)
WAYS = [np.array([a, b, c], bool) for a in (0, 1) for b in (0, 1) for c in (0, 1)]


@functools.partial(jax.jit, static_argnames="size")
def square(image, extent, middle, zoom, angle, turns, size):
    return resample.square(image, extent, middle, zoom, angle, turns, size=size)


@functools.partial(jax.jit, static_argnames="size")
def window(image, extent, corner, turns, size):
    return resample.window(image, extent, corner, turns, size=size)


@pytest.mark.parametrize("corner", [(0, 0), (7, 3), (-5, 20), (-40, 60)])
def test_a_window_is_the_host_s_square_on_whole_pixels(corner):
    found = window(IMAGE, EXTENT, np.array(corner, np.int32), STAYS, size=16)
    expected = image_batches.square(IMAGE, (corner[0] + 8, corner[1] + 8), 16, 0.0, 16)
    np.testing.assert_array_equal(found, expected)
    still = square(IMAGE, EXTENT, np.float32(corner) + 8, np.float32(1), np.float32(0), STAYS, size=16)
    np.testing.assert_array_equal(still, expected)


@pytest.mark.parametrize("turns", WAYS, ids=lambda turns: str(turns.astype(int)))
def test_a_turn_is_one_of_the_eight_of_the_square(turns):
    plain = window(IMAGE, EXTENT, np.array([2, 5], np.int32), STAYS, size=15)
    turned = window(IMAGE, EXTENT, np.array([2, 5], np.int32), turns, size=15)
    np.testing.assert_array_equal(turned, mix.turned(np.float32(plain)[None], turns[None])[0])
    middle = np.float32([9.5, 12.5])
    plain, turned = (square(IMAGE, EXTENT, middle, np.float32(1.2), np.float32(0.3), how, 15) for how in (STAYS, turns))
    np.testing.assert_array_equal(turned, mix.turned(np.float32(plain)[None], turns[None])[0])


def test_the_eight_turns_are_those_of_the_host():
    plain = np.asarray(window(IMAGE, EXTENT, np.zeros(2, np.int32), STAYS, size=9))
    found = {
        np.asarray(mix.turned(np.float32(plain)[None], turns[None])[0]).astype(np.uint8).tobytes() for turns in WAYS
    }
    turning = augment.Augmentation(turn=True)
    host = {augment.turn(np.random.default_rng(seed), turning, plain)[0].tobytes() for seed in range(100)}
    assert len(found) == 8
    assert found == host


@pytest.mark.parametrize("angle", [0.0, 0.4, -0.7])
@pytest.mark.parametrize(("middle", "zoom"), [((9.3, 20.1), 1.16), ((15.0, 13.0), 0.8), ((28.2, 2.4), 1.9)])
def test_a_turned_square_is_that_of_the_host(angle, middle, zoom):
    found = square(IMAGE, EXTENT, np.float32(middle), np.float32(zoom), np.float32(angle), STAYS, size=16)
    host = image_batches.square(IMAGE, middle, 16 * zoom, angle, 16)
    apart = np.abs(np.asarray(found).astype(int) - host)
    assert apart.max() <= 1
    assert apart.mean() < 0.01  # only where a level is whole but for rounding


def test_padding_is_never_seen():
    padded = np.full((40, 50, 4), 255, np.uint8)
    padded[:30, :26] = IMAGE
    places = (np.float32([28, 3]), np.float32(1.5), np.float32(0.5), STAYS)
    np.testing.assert_array_equal(square(padded, EXTENT, *places, size=16), square(IMAGE, EXTENT, *places, size=16))
    corner = np.array([20, -8], np.int32)
    of_padded, alone = (window(image, EXTENT, corner, STAYS, size=16) for image in (padded, IMAGE))
    np.testing.assert_array_equal(of_padded, alone)


@pytest.mark.parametrize("side", [6, 24])
def test_planes_are_blurred_as_scipy_does(side):
    planes, sigma = RANDOM.random((side, side, 5), np.float32), np.float32([0, 0.1, 0.4, 1.3, 2.0])
    found = jax.jit(functools.partial(resample.blurred, largest=2.0))(planes, sigma)
    for channel, each in enumerate(sigma):
        expected = ndimage.gaussian_filter(planes[..., channel], each) if each else planes[..., channel]
        np.testing.assert_allclose(found[..., channel], expected, atol=2e-6)


@pytest.mark.parametrize("side", [5, 16, 50, 64])
def test_light_is_spread_as_on_the_host(side):
    planes = RANDOM.random((side, side, 3), np.float32)
    reach = np.float32(side * np.array([0.04, 0.1, 0.16]))
    found = jax.jit(resample.spread)(planes, reach)
    for channel, each in enumerate(reach):
        np.testing.assert_allclose(found[..., channel], augment._spread(planes[..., channel], float(each)), atol=2e-6)


def test_an_image_is_mirrored_again_and_again():
    line = np.pad(np.arange(5), 12, "symmetric")
    np.testing.assert_array_equal(resample._mirrored(jnp.arange(-12, 17), jnp.asarray(5)), line)
