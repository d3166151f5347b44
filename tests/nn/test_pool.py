"""Pooling by shifts equals JAX's windows, gradients included."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from hpax.nn import pool


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _agree(ours, theirs, x):
    (y, back), (expected, expected_back) = (jax.vjp(f, x) for f in (ours, theirs))
    np.testing.assert_allclose(y, expected, atol=1e-6)
    g = _random(*y.shape, seed=1)
    np.testing.assert_allclose(back(g)[0], expected_back(g)[0], atol=1e-5)


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize(("h", "w"), [(3, 3), (7, 8), (10, 5)])
def test_maxima(h, w, pad):
    def windows(x):
        return nn.max_pool(x, (3, 3), (2, 2), ((pad, pad), (pad, pad)))

    _agree(lambda x: pool.maxima(x, pad=pad), windows, _random(2, h, w, 3))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 3), (6, 7)])
def test_means_are_of_the_pixels_that_the_image_holds(h, w, size):
    def windows(x):
        return nn.avg_pool(x, (size, size), (1, 1), "SAME", count_include_pad=False)

    _agree(lambda x: pool.means(x, size=size), windows, _random(2, h, w, 3))


@pytest.mark.parametrize(("h", "w"), [(2, 2), (5, 6)])
def test_halves(h, w):
    _agree(pool.halves, lambda x: nn.avg_pool(x, (2, 2), (2, 2)), _random(2, h, w, 3))


def test_the_strongest_pixel_of_each_channel_takes_the_gradient_even_of_equal_ones():
    x = _random(2, 5, 6, 3)
    x[0, 1:3, 2:4, 1] = 9  # four alike
    strongest, back = jax.vjp(pool.strongest, x)
    np.testing.assert_array_equal(strongest, x.max((1, 2)))
    g = _random(2, 3, seed=1)
    (found,) = back(g)
    expected = np.zeros_like(x)
    for image in range(2):
        for channel in range(3):
            row, column = np.unravel_index(x[image, ..., channel].argmax(), x.shape[1:3])
            expected[image, row, column, channel] = g[image, channel]
    np.testing.assert_array_equal(found, expected)
