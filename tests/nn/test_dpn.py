"""Dual path networks: as large as published, one path added to, the other grown; grouped convolutions by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest

from hpax.nn import conv
from hpax.nn.dpn import DualPathBlock, DualPathEncoder
from hpax.nn.unet import DualPathUNet

KEY = jax.random.key(0)
SMALL = {"stem": 4, "widths": (8, 12), "growth": (2, 3), "depths": (2, 1), "bottleneck": 4, "groups": 2}


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_dpn_92_has_the_published_number_of_parameters():
    """37,668,392 with the classifier of 1,000 classes; and the channels of its levels are the published ones."""
    image = jnp.zeros((1, 32, 32, 3))
    levels, variables = jax.eval_shape(DualPathEncoder().init_with_output, KEY, image)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count + 2688 * 1000 + 1000 == 37_668_392
    assert [level.shape[1:] for level in levels] == [(16, 16, 64), (8, 8, 336), (4, 4, 704), (2, 2, 1552), (1, 1, 2688)]


@pytest.mark.parametrize(("stride", "size"), [(1, 3), (2, 3), (1, 1)])
def test_grouped_convolution_sees_its_own_group_only(stride, size):
    """Equals a plain convolution of each group by itself, gradients included."""
    x, kernel = _random(2, 6, 8, 6), _random(size, size, 2, 9, seed=1)

    def by_group(x, kernel):
        parts = zip(jnp.split(x, 3, -1), jnp.split(kernel, 3, -1), strict=True)
        return jnp.concatenate([conv.convolve(a, b, stride) for a, b in parts], -1)

    def grouped(x, kernel):
        return conv.convolve(x, kernel, stride, 3)

    np.testing.assert_allclose(jax.jit(grouped)(x, kernel), by_group(x, kernel), atol=1e-5)
    gradients = [jax.grad(lambda *a, f=f: jnp.square(f(*a)).sum(), (0, 1))(x, kernel) for f in (grouped, by_group)]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), *gradients)


def test_a_block_adds_to_one_path_and_appends_to_the_other():
    x = _random(1, 4, 4, 11)
    block = DualPathBlock(width=6, growth=3, bottleneck=4, groups=2)
    variables = block.init(KEY, x)
    silent = {**variables, "params": {**variables["params"], "widen": np.zeros((1, 1, 4, 9), np.float32)}}
    out = block.apply(silent, x)
    np.testing.assert_array_equal(out[..., :11], x)
    np.testing.assert_array_equal(out[..., 11:], 0)
    out = block.apply(variables, x)
    np.testing.assert_array_equal(out[..., 6:11], x[..., 6:])
    assert (np.abs(out[..., :6] - x[..., :6]).max((0, 1, 2)) > 0).all()


@pytest.fixture(scope="module")
def fresh():
    net = DualPathUNet(**SMALL)
    images = _random(2, 16, 24, 3)
    return net, images, properties.drawn(net.init, images)


def test_the_u_net_answers_at_every_pixel_and_refuses_other_sides(fresh):
    net, images, variables = fresh
    logits = jax.jit(net.apply)(variables, images)
    assert logits.shape == (2, 16, 24, 2)
    assert not np.allclose(logits[:, ::2], logits[:, 1::2])
    with pytest.raises(ValueError, match="multiples of 8"):
        net.apply(variables, images[:, :12])


@pytest.mark.parametrize(
    ("wrong", "told"), [({"depths": (2,)}, "entry for each stage"), ({"groups": 3}, "divide by 3 groups")]
)
def test_options_that_fit_no_network_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        jax.eval_shape(DualPathUNet(**SMALL | wrong).init, KEY, jnp.zeros((1, 8, 8, 3)))


def test_every_level_counts(fresh):
    """Silencing what any level of the encoder hands to the decoder changes the answer."""
    net, images, variables = fresh
    apply = jax.jit(net.apply)
    whole = apply(variables, images)
    for name in ("across0", "across1", "up1"):
        params = {**variables["params"], name: jax.tree.map(jnp.zeros_like, variables["params"][name])}
        assert not np.allclose(apply({**variables, "params": params}, images), whole)


def test_padded_rows_change_nothing(fresh):
    net, images, variables = fresh
    train = jax.jit(partial(net.apply, train=True, mutable=["batch_stats"]))
    real, state = train(variables, images, mask=np.ones(2, np.float32))
    padded = np.concatenate([images, np.full((2, 16, 24, 3), 9, np.float32)])
    beside, beside_state = train(variables, padded, mask=np.array([1, 1, 0, 0], np.float32))
    np.testing.assert_allclose(beside[:2], real, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), beside_state, state)
