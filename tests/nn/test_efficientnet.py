"""EfficientNet equals Keras's with the same weights, is as large as published, and drops blocks by the row."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest

from hpax.nn.efficientnet import SIZES, Block, EfficientNet, Shape

KEY = jax.random.key(0)
SMALL = {
    "stem": 8,
    "top": 16,
    "widths": (8, 16),
    "depths": (1, 2),
    "expansions": (1, 2),
    "sizes": (3, 5),
    "strides": (1, 2),
}
KERAS_NAMES = {
    "dwconv": "depthwise",
    "bn": "depthwise_norm",
    "se_reduce": "squeeze",
    "se_expand": "excite",
    "expand_conv": "expand",
    "expand_bn": "expand_norm",
    "project_conv": "project",
    "project_bn": "project_norm",
}


def _images(b=2, h=16, w=24, c=4, seed=0):
    return np.random.default_rng(seed).random((b, h, w, c), dtype=np.float32)


@pytest.fixture(scope="module")
def keras():
    os.environ["KERAS_BACKEND"] = "jax"
    return pytest.importorskip("keras")


def _weighted(model):
    """Each layer with weights but the normalisation of the input."""
    return [layer for layer in model.layers if layer.weights and not layer.name.startswith("normalization")]


def _randomised(model, seed=0):
    """New weights for every layer, moving statistics included, that keep the signal's size."""
    rng = np.random.default_rng(seed)
    for layer in _weighted(model):
        for weight in layer.weights:
            if weight.name == "kernel":
                fan = np.prod(weight.shape[:2] if "dwconv" in layer.name else weight.shape[:3])
                weight.assign(rng.normal(0, np.sqrt(1.5 / fan), weight.shape))
            elif weight.name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            else:
                weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


def _translated(model, variables):
    """The Keras model's weights in the places of `variables`."""
    params, stats = {}, {}
    for layer in _weighted(model):
        place, _, part = layer.name.partition("_")
        at = [place, KERAS_NAMES[part]] if place.startswith("block") else [place if part == "conv" else f"{place}_norm"]
        weights = [np.array(weight.value) for weight in layer.weights]
        if layer.name.endswith("bn"):
            _plant(params, at, {"scale": weights[0], "bias": weights[1]})
            _plant(stats, at, {"mean": weights[2], "var": weights[3]})
            continue
        if part == "dwconv":
            weights[0] = weights[0].swapaxes(2, 3)
        elif place != "stem":
            weights[0] = weights[0][0, 0]
        _plant(params, at, dict(zip(("kernel", "bias"), weights, strict=False)))
    ours = {"params": params, "batch_stats": stats}
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, dict(variables))
    return ours


def _plant(tree, at, leaves):
    for name in at[:-1]:
        tree = tree.setdefault(name, {})
    tree[at[-1]] = leaves


def _agree(model, net, images):
    model = _randomised(model)
    variables = _translated(model, jax.eval_shape(net.init, KEY, images))
    ours = jax.jit(net.apply)(variables, images)
    theirs = jax.jit(lambda images: model(images, training=False))(255 * images)
    assert np.std(theirs) > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_equals_keras_in_every_kind_of_block(keras):
    """Scaled in width; even and odd sides, strided and residual blocks, with and without expansion."""
    from keras.src.applications import efficientnet

    names = ("repeats", "filters_in", "filters_out", "expand_ratio", "kernel_size", "strides")
    stages = [(1, 32, 16, 1, 3, 1), (2, 16, 24, 4, 5, 2)]
    blocks = [dict(zip(names, stage, strict=True), se_ratio=0.25, id_skip=True) for stage in stages]
    options = {"blocks_args": blocks, "include_top": False, "weights": None, "input_shape": (38, 33, 3)}
    model = efficientnet.EfficientNet(0.5, 1.0, 38, **options)
    depths, _, widths, expansions, sizes, strides = zip(*stages, strict=True)
    net = EfficientNet(0.5, widths=widths, depths=depths, expansions=expansions, sizes=sizes, strides=strides)
    _agree(model, net, _images(2, 38, 33, 3))


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b0", "b1"])
def test_equals_keras_applications(keras, size):
    build = getattr(keras.applications, f"EfficientNet{size.upper()}")
    model = build(include_top=False, weights=None, input_shape=(64, 64, 3))
    _agree(model, EfficientNet(**SIZES[size]), _images(2, 64, 64, 3))


@pytest.mark.parametrize(
    ("size", "top", "published"),
    [
        ("b0", 1280, 5_330_571),
        pytest.param("b1", 1280, 7_856_239, marks=pytest.mark.slow),
        pytest.param("b2", 1408, 9_177_569, marks=pytest.mark.slow),
        pytest.param("b3", 1536, 12_320_535, marks=pytest.mark.slow),
        pytest.param("b4", 1792, 19_466_823, marks=pytest.mark.slow),
        pytest.param("b5", 2048, 30_562_527, marks=pytest.mark.slow),
        pytest.param("b6", 2304, 43_265_143, marks=pytest.mark.slow),
        pytest.param("b7", 2560, 66_658_687, marks=pytest.mark.slow),
        ("lite0", 1280, 4_652_008),
        pytest.param("lite1", 1280, 5_416_680, marks=pytest.mark.slow),
        pytest.param("lite2", 1280, 6_092_072, marks=pytest.mark.slow),
    ],
)
def test_as_large_as_published(size, top, published):
    """keras.applications counts moving statistics and 7 numbers of its normalisation, Lite's authors neither."""
    features, variables = jax.eval_shape(EfficientNet(**SIZES[size]).init_with_output, KEY, jnp.zeros((1, 32, 32, 3)))
    counted = variables if size.startswith("b") else variables["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(counted))
    assert features.shape == (1, 1, 1, top)
    assert count + 1000 * top + 1000 + 7 * size.startswith("b") == published


@pytest.fixture(scope="module", params=[False, True], ids=["swish", "lite"])
def fresh(request):
    net = EfficientNet(**SMALL, lite=request.param, drop=0.0)
    return net, properties.drawn(net.init, _images())


def test_every_parameter_counts(fresh):
    """None of them has a zero gradient; images of odd sides are taken too."""
    net, variables = fresh
    assert jax.eval_shape(net.apply, variables, _images(1, 17, 9)).shape == (
        1,
        -(-17 // net.stride),
        -(-9 // net.stride),
        16,
    )

    @jax.jit
    @jax.grad
    def gradient(params):
        features = net.apply({**variables, "params": params}, _images(), train=True, mutable=["batch_stats"])[0]
        return jnp.square(features - _images(1, 4, 6, 16)).sum()

    silent = [leaf for leaf in jax.tree.leaves(gradient(variables["params"])) if not np.abs(leaf).max() > 1e-7]
    assert silent == []


def test_padded_rows_change_nothing(fresh):
    net, variables = fresh
    train = jax.jit(partial(net.apply, train=True, mutable=["batch_stats"]))
    real, state = train(variables, _images(), mask=np.ones(2, np.float32))
    padded = np.concatenate([_images(), np.full((2, 16, 24, 4), 9, np.float32)])
    beside, beside_state = train(variables, padded, mask=np.array([1, 1, 0, 0], np.float32))
    np.testing.assert_allclose(beside[:2], real, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), beside_state, state)


def test_stochastic_depth_leaves_out_whole_rows():
    """In training, what a block adds to a row is nothing, or enough more to keep the mean."""
    x = _images(64, 4, 4, 8)
    always, seldom = (Block(Shape(8, 2, 3, 1, drop, False)) for drop in (0.0, 0.75))
    variables = always.init(KEY, x)
    train = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": KEY}}
    whole, _ = always.apply(variables, x, **train)
    thinned, _ = seldom.apply(variables, x, **train)
    kept = np.abs(thinned - x).max((1, 2, 3)) > 0
    assert 4 <= kept.sum() <= 28
    np.testing.assert_allclose((thinned - x)[kept], 4 * (whole - x)[kept], atol=1e-4)
    np.testing.assert_array_equal(seldom.apply(variables, x), always.apply(variables, x))


def test_later_blocks_are_left_out_more_often():
    drops = [shape.drop for _, shape in EfficientNet(**SMALL, drop=0.3).blocks()]
    np.testing.assert_allclose(drops, [0, 0.1, 0.2])


def test_options_that_fit_no_network_are_refused():
    with pytest.raises(ValueError, match="entry for each stage"):
        jax.eval_shape(EfficientNet(**SMALL | {"depths": (1,)}).init, KEY, _images())
