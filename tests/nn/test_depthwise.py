"""The depthwise convolution equals JAX's own, gradients included."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn

from hpax.nn import depthwise as module
from hpax.nn.depthwise import Depthwise, depthwise, fan_uniform


def _arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def _native(x, kernel, stride):
    layout = ("NHWC", "HWIO", "NHWC")
    groups = x.shape[-1]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=layout, feature_group_count=groups
    )


@pytest.mark.parametrize(
    ("b", "h", "w", "c", "size", "stride"),
    [
        (3, 6, 8, 4, 3, 1),
        (3, 6, 8, 4, 3, 2),
        (2, 7, 5, 3, 5, 1),
        (2, 7, 6, 3, 5, 2),
        (1, 1, 2, 1, 5, 2),
        (1, 3, 2, 2, 1, 2),
    ],
)
def test_equals_jax_in_value_and_gradients(b, h, w, c, size, stride):
    """Even and odd sides, kernels that reach beyond the image, whole and halved images."""
    x, kernel = _arrays((b, h, w, c), (size, size, 1, c))
    g = _arrays(_native(x, kernel, stride).shape, seed=1)[0]

    def both(f):
        y, back = jax.vjp(lambda x, kernel: f(x, kernel, stride), x, kernel)
        return y, *back(g)

    ours, theirs = (jax.jit(both, static_argnums=0)(f) for f in (depthwise, _native))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), ours, theirs)


def test_other_platforms_get_jax_s_own_convolution():
    x, kernel = _arrays((1, 4, 4, 3), (3, 3, 1, 3))
    step = jax.jit(lambda x, kernel: jax.vjp(depthwise, x, kernel)[1](depthwise(x, kernel)))
    lowered = {name: step.trace(x, kernel).lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda")}
    assert "convolution" in lowered["cuda"]
    assert "convolution" not in lowered["cpu"]


@pytest.mark.parametrize("stride", [1, 2])
def test_layer_is_flax_s_under_another_name(stride):
    x = _arrays((2, 7, 6, 4))[0]
    oracle = nn.Conv(4, (3, 3), stride, feature_group_count=4, use_bias=False)
    variables = oracle.init(jax.random.key(0), x)
    np.testing.assert_allclose(Depthwise(3, stride).apply(variables, x), oracle.apply(variables, x), atol=1e-5)
    fresh = jax.eval_shape(Depthwise(3, stride).init, jax.random.key(0), x)
    assert jax.tree.map(np.shape, fresh) == jax.tree.map(np.shape, variables)


def test_a_fresh_kernel_keeps_the_variance_of_noise():
    kernel = fan_uniform(jax.random.key(0), (5, 5, 1, 400))
    x = _arrays((1, 16, 16, 400))[0]
    inner = depthwise(x, kernel)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(np.var(inner), 1, rtol=0.05)


def test_padding_is_tensorflow_s():
    """One zero more after than before where their number is odd."""
    assert module._padding((8, 7), (3, 5), 2) == [(0, 1), (2, 2)]
