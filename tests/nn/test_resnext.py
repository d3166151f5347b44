"""SE-ResNeXt: as large as published, its blocks as Flax's own layers would have them, padding counts as nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
from flax import linen as nn

from hpax.nn.resnext import EPSILON, Block, ResNeXt

KEY = jax.random.key(0)
SMALL = ResNeXt(stem=4, widths=(4, 8), depths=(1, 2), groups=2, squeeze=4)


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _drawn(module, x, seed=0):
    """Variables whose every leaf is random, moving statistics included."""
    shapes = jax.eval_shape(module.init, KEY, x)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.uniform(0.2, 1, leaf.shape).astype(np.float32), shapes)


def test_se_resnext_50_has_the_published_number_of_parameters():
    """27,559,896 for three channels, with a classifier of 1,000 classes."""
    image = jnp.zeros((1, 64, 96, 3))
    out, variables = jax.eval_shape(ResNeXt().init_with_output, KEY, image)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count + 2048 * 1000 + 1000 == 27_559_896
    assert out.shape == (1, 2, 3, 2048)
    assert ResNeXt().stride == 32


def _by_flax(variables, x, block):
    """The block in Flax's words: its own grouped convolution and BatchNorm."""
    params, stats = variables["params"], variables["batch_stats"]

    def layer(x, name, stride=1, groups=1):
        size = params[name].shape[:2]
        conv = nn.Conv(params[name].shape[-1], size, stride, size[0] // 2, feature_group_count=groups, use_bias=False)
        norm = nn.BatchNorm(use_running_average=True, epsilon=EPSILON)
        x = conv.apply({"params": {"kernel": params[name]}}, x)
        return norm.apply({"params": params[f"{name}_norm"], "batch_stats": stats[f"{name}_norm"]}, x)

    kept = layer(x, "start", block.stride) if "start" in params else x
    x = nn.relu(layer(nn.relu(layer(x, "narrow")), "grouped", block.stride, block.groups))
    x = layer(x, "widen")
    down, up = (params[name] for name in ("squeeze_channels", "excite"))
    weights = np.maximum(np.mean(x, (1, 2)) @ down["kernel"] + down["bias"], 0) @ up["kernel"] + up["bias"]
    return nn.relu(kept + x / (1 + np.exp(-weights))[:, None, None])


@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (16, 2), (6, 1)])
def test_a_block_equals_flax_s_layers(channels, stride):
    """Where the input is kept as it is, where it is halved, and where it has other channels."""
    block, x = Block(width=8, groups=4, squeeze=4, stride=stride), _random(2, 5, 6, channels)
    variables = _drawn(block, x)
    assert ("start" in variables["params"]) == ((channels, stride) != (16, 1))
    expected = _by_flax(variables, x, block)
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "told"), [({"depths": (2,)}, "entry for each stage"), ({"groups": 3}, "divide by 3 groups")]
)
def test_options_that_fit_no_network_are_refused(wrong, told):
    options = {"widths": (4, 8), "depths": (1, 1), "groups": 2} | wrong
    with pytest.raises(ValueError, match=told):
        jax.eval_shape(ResNeXt(**options).init, KEY, jnp.zeros((1, 8, 8, 3)))


def test_padded_rows_change_nothing():
    images = _random(2, 16, 24, 4)
    variables = properties.drawn(SMALL.init, images)
    train = jax.jit(partial(SMALL.apply, train=True, mutable=["batch_stats"]))
    real, state = train(variables, images, mask=np.ones(2, np.float32))
    padded = np.concatenate([images, np.full_like(images, 9)])
    beside, beside_state = train(variables, padded, mask=np.array([1, 1, 0, 0], np.float32))
    np.testing.assert_allclose(beside[:2], real, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), beside_state, state)
