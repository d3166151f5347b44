"""BatchNorm agrees with Flax's, forgets padding, and cannot tell eight devices from one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hpax.nn.norm import BatchNorm


def _images(b=8, seed=0, c=3):
    return np.random.default_rng(seed).normal(2.0, 3.0, (b, 4, 6, c)).astype(np.float32)


def _apply(x, mask=None, *, momentum=0.9, variables=None, train=True):
    norm = BatchNorm(momentum=momentum)
    variables = variables or norm.init(jax.random.key(0), x)
    return norm.apply(variables, x, mask=mask, train=train, mutable=["batch_stats"])


def test_equals_flax_in_training_and_at_inference():
    x = _images()
    oracle = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-3)
    expected, expected_state = oracle.apply(oracle.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    y, state = _apply(x)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5),
        dict(state["batch_stats"]),
        dict(expected_state["batch_stats"]),
    )
    variables = {"params": {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.array([0.0, -1.0, 1.0])}, **state}
    at_rest, _ = _apply(x, variables=variables, train=False)
    still = nn.BatchNorm(use_running_average=True, epsilon=1e-3)
    np.testing.assert_allclose(at_rest, still.apply({**variables, **expected_state}, x), atol=1e-5)


def test_gradient_equals_flax():
    x, weight = _images(), _images(seed=1)
    oracle = nn.BatchNorm(use_running_average=False, epsilon=1e-3)
    variables = oracle.init(jax.random.key(0), x)
    ours = jax.grad(lambda x: (_apply(x, variables=variables)[0] * weight).sum())(x)
    theirs = jax.grad(lambda x: (oracle.apply(variables, x, mutable=["batch_stats"])[0] * weight).sum())(x)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_normalises_each_channel():
    y, _ = _apply(_images())
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, atol=1e-3)


def test_survives_a_mean_that_dwarfs_the_spread():
    """About zero, the squares of 1000 ± 0.1 cancel in float32; about the moving mean they do not."""
    x = 1000 + _images(64) * 0.01
    variables = {
        "params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        "batch_stats": {"mean": jnp.full(3, 1000.0), "var": jnp.ones(3)},
    }
    _, state = _apply(x, variables=variables, momentum=0.0)
    np.testing.assert_allclose(state["batch_stats"]["var"], x.astype(np.float64).var((0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("padding", [0.0, 1e6, np.nan])
def test_padding_counts_as_nothing(padding):
    x = _images(5)
    padded = np.concatenate([x, np.full_like(x[:3], padding)])
    y, state = _apply(x)
    y_padded, state_padded = _apply(padded, np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32))
    np.testing.assert_allclose(y_padded[:5], y, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state, state_padded)


def test_a_batch_of_padding_alone_moves_nothing():
    x = _images(4)
    y, state = _apply(x, np.zeros(4, np.float32))
    np.testing.assert_array_equal(state["batch_stats"]["mean"], 0)
    np.testing.assert_array_equal(state["batch_stats"]["var"], 1)
    assert np.isfinite(y).all()


def test_other_precisions_keep_float32_statistics():
    y, state = _apply(jnp.asarray(_images(), jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert state["batch_stats"]["mean"].dtype == jnp.float32


@pytest.mark.parametrize("real", [16, 11, 3])
def test_eight_devices_take_the_same_sgd_step_as_one(real):
    """A ragged global batch of 16: with 11 and 3 real rows, some devices hold padding only."""
    x, target = _images(16), _images(16, seed=1, c=2)
    mask = (np.arange(16) < real).astype(np.float32)

    class Net(nn.Module):
        axis_name: str | None = None

        @nn.compact
        def __call__(self, x, mask, train):
            x = BatchNorm(self.axis_name, momentum=0.9)(nn.Conv(4, (3, 3))(x), mask=mask, train=train)
            return nn.Conv(2, (1, 1))(BatchNorm(self.axis_name, momentum=0.9)(nn.relu(x), mask=mask, train=train))

    def step(net, variables, x, target, mask):
        def total(params):
            y, state = net.apply({**variables, "params": params}, x, mask, True, mutable=["batch_stats"])
            return (jnp.square(y - target).mean((1, 2, 3)) * mask).sum(), state

        gradient, state = jax.grad(total, has_aux=True)(variables["params"])
        count = mask.sum()
        if net.axis_name:
            gradient, count = jax.lax.psum((gradient, count), net.axis_name)
        return jax.tree.map(lambda p, g: p - 0.1 * g / count, variables["params"], gradient), state

    variables = Net().init(jax.random.key(0), x, mask, False)
    alone = jax.jit(lambda *args: step(Net(), *args))(variables, x, target, mask)
    parts = [a.reshape(8, 2, *a.shape[1:]) for a in (x, target, mask)]
    together = jax.pmap(lambda *args: step(Net("d"), *args), axis_name="d", in_axes=(None, 0, 0, 0))(variables, *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[5], atol=2e-6), alone, together)
    assert not np.allclose(alone[0]["Conv_0"]["kernel"], variables["params"]["Conv_0"]["kernel"], atol=1e-3)
