"""The fast convolutions and halving equal Flax's and JAX's own, gradients included."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn

from hpax.nn import conv
from hpax.nn.conv import Conv3x3, correlate, correlate_doubled, glorot_uniform, halve


def _arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


# as users compile: whether a multiplication and an addition are rounded once or twice is told apart below
as_users_do = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})


def test_glorot_uniform_equals_flax():
    key = jax.random.key(1)
    expected = as_users_do(lambda key: nn.initializers.glorot_uniform()(key, (3, 3, 5, 7)))(key)
    found = as_users_do(lambda key: glorot_uniform(key, (3, 3, 5, 7)))(key)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def _native(x, kernel, before=(1, 1)):
    padding = [(lead, extent - 1 - lead) for extent, lead in zip(kernel.shape[:2], before, strict=True)]
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _double(x):
    return x.repeat(2, 1).repeat(2, 2)


def _agree(ours, theirs, x, kernel):
    g = _arrays(jax.eval_shape(theirs, x, kernel).shape, seed=1)[0]

    @partial(jax.jit, static_argnums=0)
    def both_ways(f, g):
        y, back = jax.vjp(f, x, kernel)
        return y, back(g)

    (y, gradients), (expected, expected_gradients) = both_ways(ours, g), both_ways(theirs, g)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), gradients, expected_gradients)


@pytest.mark.parametrize("chunk", [0, 10_000, 1 << 30])
@pytest.mark.parametrize(
    ("b", "h", "w", "c", "k"),
    [(4, 6, 8, 3, 5), (3, 5, 4, 8, 2), (6, 8, 8, 6, 6), (1, 1, 1, 1, 1), (4, 5, 6, 16, 18), (2, 6, 3, 20, 16)],
)
def test_convolution_equals_jax_in_value_and_gradients(monkeypatch, chunk, b, h, w, c, k):
    """Few and many channels, narrowing and widening, whole batches, parts of them and single images."""
    monkeypatch.setattr(conv, "_CHUNK", chunk)
    _agree(correlate, _native, *_arrays((b, h, w, c), (3, 3, c, k)))


@pytest.mark.parametrize(("c", "k"), [(3, 5), (8, 2), (16, 16)])
@pytest.mark.parametrize("before", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_small_kernels_may_lie_off_centre(c, k, before):
    x, kernel = _arrays((2, 4, 5, c), (2, 2, c, k))
    _agree(lambda x, kernel: correlate(x, kernel, before), lambda x, kernel: _native(x, kernel, before), x, kernel)


@pytest.mark.parametrize(("h", "w", "size"), [(2, 3, (1, 1)), (2, 2, (3, 3)), (1, 5, (5, 3)), (6, 2, (1, 7))])
def test_kernels_may_be_of_one_pixel_or_exceed_the_image(h, w, size):
    before = ((size[0] - 1) // 2, (size[1] - 1) // 2)
    x, kernel = _arrays((2, h, w, 8), (*size, 8, 5))
    _agree(lambda x, kernel: correlate(x, kernel, before), lambda x, kernel: _native(x, kernel, before), x, kernel)


@pytest.mark.parametrize(
    ("size", "groups", "stride", "padded"),
    [
        ((3, 3), 1, 2, True),
        ((3, 3), 1, 1, False),
        ((1, 1), 1, 2, False),
        ((3, 3), 4, 1, True),
        ((3, 3), 4, 2, False),
        ((1, 3), 8, 2, True),
    ],
)
def test_strides_padding_and_groups_equal_jax_s(monkeypatch, size, groups, stride, padded):
    """With groups on their own, with some joined, and with all."""
    monkeypatch.setattr(conv, "_LOT", 4)
    half = tuple((side // 2 * padded,) * 2 for side in size)

    def native(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        options = {"dimension_numbers": names, "feature_group_count": groups}
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), half, **options)

    x, kernel = _arrays((2, 5, 6, 16), (*size, 16 // groups, 8))
    _agree(lambda x, kernel: conv.convolve(x, kernel, stride, groups, padded=padded), native, x, kernel)


@pytest.mark.parametrize(("h", "w", "c", "k"), [(4, 5, 3, 6), (2, 2, 8, 2), (1, 1, 1, 1)])
def test_convolution_of_the_doubled_image_needs_no_doubling(h, w, c, k):
    _agree(correlate_doubled, lambda x, kernel: _native(_double(x), kernel), *_arrays((2, h, w, c), (3, 3, c, k)))


@pytest.mark.parametrize("channels", [3, 12])
def test_other_platforms_get_jax_s_own_convolution(channels):
    x, kernel = _arrays((1, 4, 4, channels), (3, 3, channels, 2))
    step = jax.jit(lambda x, kernel: jax.vjp(correlate, x, kernel)[1](correlate(x, kernel)))
    lowered = {name: step.trace(x, kernel).lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda")}
    assert "dot_general" not in lowered["cuda"]
    assert "dot_general" in lowered["cpu"]


def test_layer_is_flax_s_under_another_name():
    x = _arrays((2, 6, 6, 3))[0]
    oracle = nn.Conv(5, (3, 3), kernel_init=nn.initializers.glorot_uniform())
    variables = as_users_do(oracle.init)(jax.random.key(0), x)
    variables["params"]["bias"] = _arrays((5,))[0]
    np.testing.assert_allclose(Conv3x3(5).apply(variables, x), oracle.apply(variables, x), atol=1e-5)
    fresh = as_users_do(Conv3x3(5).init)(jax.random.key(0), x)
    np.testing.assert_allclose(fresh["params"]["kernel"], variables["params"]["kernel"], rtol=1e-6)


def test_doubled_layer_is_flax_s_on_the_doubled_image():
    x = _arrays((2, 6, 6, 3))[0]
    variables = Conv3x3(5).init(jax.random.key(0), x)
    expected = nn.Conv(5, (3, 3)).apply(variables, _double(x))
    np.testing.assert_allclose(Conv3x3(5, doubled=True).apply(variables, x), expected, atol=1e-5)


def test_halving_equals_max_pooling_and_its_gradient():
    x, g = _arrays((2, 6, 4, 3), (2, 3, 2, 3))
    ours, ours_back = jax.vjp(halve, x)
    theirs, theirs_back = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours_back(g)[0], theirs_back(g)[0])


def test_equal_maxima_share_the_gradient():
    x, g = np.ones((1, 2, 2, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    np.testing.assert_array_equal(jax.vjp(halve, x)[1](g)[0], np.full_like(x, 0.25))
