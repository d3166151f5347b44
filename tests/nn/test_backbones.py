"""Every backbone by its name: how it is called, what it answers, and what leaves it alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest

from hpax.nn.backbones import BACKBONES

KEY = jax.random.key(0)
LARGER = [f"efficientnet-{size}" for size in ("b1", "b2", "b3", "b4", "b5", "b6", "b7", "lite1", "lite2")]
TINY = [name for name in BACKBONES if name.endswith("-tiny")]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGER)) for name in BACKBONES]
)
def test_a_map_of_one_place_for_every_stride(name):
    """To a place or two, as some do not pad; of any number of channels; and BatchNorm's options are taken."""
    net = BACKBONES[name](axis_name="devices", momentum=0.5)
    assert (net.axis_name, net.momentum) == ("devices", 0.5)
    out, _ = jax.eval_shape(net.init_with_output, KEY, jnp.zeros((2, 128, 192, 5)))
    assert out.ndim == 4
    if name.startswith("lu2019"):  # the maxima of all layers, of all places
        assert out.shape[1:3] == (1, 1)
        return
    assert abs(out.shape[1] - 128 / net.stride) <= 2
    assert abs(out.shape[2] - 192 / net.stride) <= 2


@pytest.mark.parametrize("name", TINY)
def test_rows_do_not_know_each_other_at_inference(name):
    net = BACKBONES[name](axis_name=None, momentum=0.9)
    images = np.random.default_rng(0).random((2, 80, 80, 4), dtype=np.float32)
    variables = properties.drawn(net.init, images)
    apply = jax.jit(partial(net.apply, variables))
    both = apply(images)
    assert np.isfinite(both).all()
    assert np.ptp(both) > 0
    other = apply(np.stack([images[0], np.zeros_like(images[1])]))
    np.testing.assert_allclose(other[0], both[0], atol=1e-5)
    assert not np.allclose(other[1], both[1])
