"""DenseNet equals Keras's with the same weights, and padding counts as nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
from keras_models import drawn

from hpax.nn.densenet import DenseNet

KEY = jax.random.key(0)
KINDS = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}


def _images(b=2, h=64, w=40, c=4, seed=0):
    return np.random.default_rng(seed).random((b, h, w, c), dtype=np.float32)


def _place(layer):
    """Our name of a layer of Keras's: conv1 is the stem, block n of layers is its conv(n + 2), and counts from 1."""
    if layer in ("conv1_conv", "conv1_bn"):
        return "stem" if layer == "conv1_conv" else "stem_norm"
    if layer == "bn":
        return "norm"
    if layer.startswith("pool"):
        return f"halve{int(layer[4]) - 1}" + ("_norm" if layer.endswith("bn") else "")
    block, unit, half, kind = layer.split("_")
    name = f"block{int(block[4:]) - 2}_{int(unit[5:]) - 1}"
    return f"{name}{'ab'[int(half)]}_norm" if kind == "bn" else f"{name}{'ab'[int(half) - 1]}"


def _translated(weights):
    params, stats = {}, {}
    for path, weight in weights.items():
        layer, _, kind = path.partition("/")
        if kind == "kernel":
            params[_place(layer)] = weight
        else:
            (stats if kind.startswith("moving") else params).setdefault(_place(layer), {})[KINDS[kind]] = weight
    return {"params": params, "batch_stats": stats}


@pytest.mark.parametrize("depths", [(1, 2, 1, 1), pytest.param((6, 12, 24, 16), marks=pytest.mark.slow)])
def test_equals_keras(depths):
    images = _images()
    options = {"include_top": False, "weights": None, "input_shape": images.shape[1:]}

    def make(keras):
        if depths == DenseNet.depths:
            return keras.applications.DenseNet121(**options)
        from keras.src.applications.densenet import DenseNet as any_depth

        return any_depth(list(depths), **options)

    weights, oracle = drawn(make)
    net, expected, variables = DenseNet(depths=depths), oracle(images), _translated(weights)
    shapes = jax.eval_shape(net.init, KEY, images)
    jax.tree.map(lambda ours, theirs: np.testing.assert_equal(ours.shape, theirs.shape), dict(shapes), variables)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(jax.jit(net.apply)(variables, images), expected, atol=1e-4)


def test_is_as_large_as_keras_s():
    out, variables = jax.eval_shape(DenseNet().init_with_output, KEY, jnp.zeros((1, 128, 128, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 7_037_504
    assert out.shape == (1, 4, 4, 1024)
    assert DenseNet().stride == 128 // 4


def test_padded_rows_change_nothing():
    net, images = DenseNet(stem=4, growth=2, depths=(1, 2)), _images(h=16, w=24)
    variables = properties.drawn(net.init, images)
    train = jax.jit(partial(net.apply, train=True, mutable=["batch_stats"]))
    real, state = train(variables, images, mask=np.ones(2, np.float32))
    padded = np.concatenate([images, np.full_like(images, 9)])
    beside, beside_state = train(variables, padded, mask=np.array([1, 1, 0, 0], np.float32))
    np.testing.assert_allclose(beside[:2], real, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), beside_state, state)
