"""Inception-v3 equals Keras's with the same weights; small ones are made alike, and padding counts as nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
from keras_models import drawn

from hpax.nn.inception import Inception

KEY = jax.random.key(0)
SMALL = Inception(early=(32,), middle=(128,), late=1, thin=16)


def _images(b=2, h=75, w=83, c=4, seed=0):
    return np.random.default_rng(seed).random((b, h, w, c), dtype=np.float32)


def _translated(weights):
    """Keras's weights in our places: its nth convolution and its normalisation."""
    params, stats = {}, {}
    for path, weight in weights.items():
        layer, _, kind = path.partition("/")
        name, _, count = layer.rpartition("_") if layer[-1].isdigit() and layer != "conv2d" else (layer, "", "0")
        place = f"conv{count}"
        if name == "conv2d":
            params.setdefault(place, {})["kernel"] = weight
        elif kind == "beta":
            params.setdefault(place, {})["norm"] = {"bias": weight}
        else:
            stats.setdefault(place, {}).setdefault("norm", {})[kind.removeprefix("moving_")[:4].rstrip("i")] = weight
    return {"params": params, "batch_stats": stats}


@pytest.mark.slow
def test_equals_keras():
    images = _images()
    weights, oracle = drawn(
        lambda keras: keras.applications.InceptionV3(include_top=False, weights=None, input_shape=images.shape[1:])
    )
    net, expected = Inception(), oracle(images)
    variables = _translated(weights)
    shapes = jax.eval_shape(net.init, KEY, images)
    jax.tree.map(lambda ours, theirs: np.testing.assert_equal(ours.shape, theirs.shape), dict(shapes), variables)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(jax.jit(net.apply)(variables, images), expected, atol=1e-4)


@pytest.mark.parametrize(("side", "places"), [(75, 1), (128, 2), (299, 8)])
def test_is_as_large_as_keras_s(side, places):
    out, variables = jax.eval_shape(Inception().init_with_output, KEY, jnp.zeros((1, side, side, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 21_802_784
    assert out.shape == (1, places, places, 2048)


def test_small_ones_are_thinner_and_shorter():
    out, variables = jax.eval_shape(SMALL.init_with_output, KEY, _images())
    full = jax.eval_shape(Inception().init, KEY, _images())
    assert out.shape[-1] == 2048 // 16
    assert len(variables["params"]) == 94 - 2 * 7 - 3 * 10 - 9
    stem, whole = (each["params"]["conv4"]["kernel"].shape for each in (variables, full))
    assert stem == (3, 3, 5, 12) == (*whole[:2], whole[2] // 16, whole[3] // 16)


def test_images_of_fewer_than_75_pixels_are_refused():
    with pytest.raises(ValueError, match="75 pixels or more a side"):
        jax.eval_shape(SMALL.init, KEY, jnp.zeros((1, 74, 100, 3)))


def test_padded_rows_change_nothing():
    images = _images(w=75)
    variables = properties.drawn(SMALL.init, images)
    train = jax.jit(partial(SMALL.apply, train=True, mutable=["batch_stats"]))
    padded = np.concatenate([images, np.full_like(images, 9)])
    beside, beside_state = train(variables, padded, mask=np.array([1, 1, 0, 0], np.float32))
    again, state = train(variables, np.concatenate([images, -padded[2:]]), mask=np.array([1, 1, 0, 0], np.float32))
    np.testing.assert_allclose(beside[:2], again[:2], atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), beside_state, state)
