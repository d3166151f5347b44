"""The plain network: what it refuses, what reaches what, and that padding counts as nothing."""

from functools import partial

import jax
import numpy as np
import properties
import pytest

from hpax.nn.plain import Plain

NET = Plain(widths=(4, 6, 5))


def _images(b=2, h=16, w=24, c=4, seed=0):
    return np.random.default_rng(seed).random((b, h, w, c), dtype=np.float32)


@pytest.fixture(scope="module")
def variables():
    return properties.drawn(NET.init, _images())


def test_one_place_for_every_stride(variables):
    x = jax.jit(NET.apply)(variables, _images())
    assert x.shape == (2, 16 // NET.stride, 24 // NET.stride, 5)
    assert x.min() >= 0
    with pytest.raises(ValueError, match="multiples of 8"):
        NET.apply(variables, _images(h=20))


def test_levels_are_residual(variables):
    """With every second convolution silent, what the first ones say passes through."""
    silent = {
        name: jax.tree.map(np.zeros_like, leaf) if name.endswith("b") else leaf
        for name, leaf in variables["params"].items()
    }
    single = NET.apply({**variables, "params": silent}, _images())
    assert np.abs(single).max() > 0
    assert not np.allclose(single, NET.apply(variables, _images()))


def test_moves_with_the_image_by_its_stride():
    """Away from the edges, an image moved by the stride gives features moved by one place."""
    net = Plain(widths=(4, 6))
    image = _images(1, 64, 64)
    variables = net.init(jax.random.key(0), image)
    moved = net.apply(variables, np.roll(image, (net.stride, 2 * net.stride), (1, 2)))
    inner = (slice(None), slice(6, 10), slice(6, 10))
    np.testing.assert_allclose(np.roll(moved, (-1, -2), (1, 2))[inner], net.apply(variables, image)[inner], atol=1e-5)


def test_padded_rows_change_nothing(variables):
    train = jax.jit(partial(NET.apply, train=True, mutable=["batch_stats"]))
    real, state = train(variables, _images(), mask=np.ones(2, np.float32))
    padded = np.concatenate([_images(), np.full((2, 16, 24, 4), 9, np.float32)])
    beside, beside_state = train(variables, padded, mask=np.array([1, 1, 0, 0], np.float32))
    np.testing.assert_allclose(beside[:2], real, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), beside_state, state)
