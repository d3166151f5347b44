"""The light U-Net: what it refuses, what it sees, and that its shortcuts change no number."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest

from hpax.nn import unet
from hpax.nn.unet import LightUNet

KEY = jax.random.key(0)
TINY = LightUNet(widths=(4, 6, 5))


def _images(b=2, h=16, w=24, c=3, seed=0):
    return np.random.default_rng(seed).random((b, h, w, c), dtype=np.float32)


@pytest.fixture(scope="module")
def variables():
    return properties.drawn(TINY.init, _images())


apply = jax.jit(TINY.apply)


def test_unfold_undoes_fold_and_a_pixel_stays_in_its_place():
    images = _images()
    folded = unet.fold(images)
    np.testing.assert_array_equal(unet.unfold(folded), images)
    np.testing.assert_array_equal(folded[:, 3, 5, 3:6], images[:, 6, 11])


def test_every_pixel_has_logits_of_its_own(variables):
    """Each pixel's logits depend on the pixel; a net that upsampled coarse logits would give 2×2 pixels the same."""
    logits = apply(variables, _images())
    assert logits.shape == (2, 16, 24, 2)
    assert not np.allclose(logits[:, ::2], logits[:, 1::2])


@pytest.mark.parametrize("sides", [(16, 20), (12, 24), (0, 8)])
def test_sides_must_halve_evenly(sides):
    fit = {(16, 20): "(16, 24)", (12, 24): "(16, 24)", (0, 8): "(8, 8)"}[sides]
    with pytest.raises(ValueError, match="multiples of 8") as error:
        TINY.init(KEY, jnp.zeros((1, *sides, 3)))
    assert fit in str(error.value)


def test_moves_with_the_image_by_its_stride(variables):
    """Away from the edges, an image moved by the stride gives logits moved as far."""
    wide = LightUNet(widths=(4, 6))
    variables = wide.init(KEY, _images(1, 8, 8))
    image = _images(1, 64, 64)
    moved = np.roll(image, (wide.stride, 2 * wide.stride), (1, 2))
    inner = (slice(None), slice(24, 32), slice(24, 32))
    there = np.roll(wide.apply(variables, moved), (-wide.stride, -2 * wide.stride), (1, 2))
    np.testing.assert_allclose(there[inner], wide.apply(variables, image)[inner], atol=1e-5)


def test_equals_the_plain_u_net(variables):
    """Its convolution of doubled pixels and its sum of two convolutions are the textbook's upsample and concatenate."""
    images = _images()

    def same(x, params):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", dimension_numbers=dimensions)

    p = variables["params"]

    def block(x, name):
        x = same(x, p[name]) + p[name]["bias"]
        return jax.nn.relu(x / np.sqrt(1 + 1e-3))

    x, levels = unet.fold(images), []
    for level in range(3):
        x = x if not level else x.reshape(2, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        x = block(block(x, f"down{level}a"), f"down{level}b")
        levels.append(x)
    for level in (1, 0):
        x = jnp.concatenate([x.repeat(2, 1).repeat(2, 2), levels[level]], -1)
        kernel = jnp.concatenate([p[f"up{level}"]["kernel"], p[f"across{level}"]["kernel"]], 2)
        bias = p[f"up{level}"]["bias"] + p[f"across{level}"]["bias"]
        x = jax.nn.relu((same(x, {"kernel": kernel}) + bias) / np.sqrt(1 + 1e-3))
    expected = unet.unfold(x @ p["head"]["kernel"] + p["head"]["bias"])
    np.testing.assert_allclose(apply(variables, images), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_default_is_light(channels):
    shapes = jax.eval_shape(LightUNet().init, KEY, jnp.zeros((1, 32, 32, channels)))["params"]
    assert 500_000 < sum(leaf.size for leaf in jax.tree.leaves(shapes)) < 700_000


def test_padded_rows_change_nothing(variables):
    train = jax.jit(partial(TINY.apply, train=True, mutable=["batch_stats"]))
    real, state = train(variables, _images(3), mask=np.ones(3, np.float32))
    padded = np.concatenate([_images(3), np.full((2, 16, 24, 3), 9, np.float32)])
    beside, beside_state = train(variables, padded, mask=np.array([1, 1, 1, 0, 0], np.float32))
    np.testing.assert_allclose(beside[:3], real, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), beside_state, state)
