"""Errors of painted proteins are what they are named after, pair by pair, and can be learnt from."""

import jax
import numpy as np
import pytest

from hpax.ops.painting import ERRORS


def pairs(seed=0):
    return np.random.default_rng(seed).uniform(size=(2, 5, 6, 7, 1)).astype(np.float32)


ORACLES = {
    "squared": lambda painted, wanted: np.mean((painted - wanted) ** 2),
    "absolute": lambda painted, wanted: np.mean(np.abs(painted - wanted)),
    "correlation": lambda painted, wanted: 1 - np.corrcoef(painted.ravel(), wanted.ravel())[0, 1],
}


@pytest.mark.parametrize("name", ERRORS)
def test_each_pair_has_the_error_of_its_name(name):
    painted, wanted = pairs()
    expected = [ORACLES[name](*pair) for pair in zip(painted, wanted, strict=True)]
    np.testing.assert_allclose(ERRORS[name](painted, wanted), expected, rtol=1e-5)
    np.testing.assert_allclose(ERRORS[name](wanted, wanted), np.zeros(5), atol=1e-6)


def test_correlation_alone_does_not_mind_brightness():
    painted, wanted = pairs()
    for name, error in ERRORS.items():
        same = np.allclose(error(painted, wanted), error(0.3 * painted + 0.1, wanted), rtol=1e-4)
        assert same == (name == "correlation")


@pytest.mark.parametrize("name", ERRORS)
def test_gradients_are_finite_also_of_black_images(name):
    painted, wanted = pairs()
    painted[0], wanted[:2] = 0, 0
    gradient = jax.grad(lambda painted: ERRORS[name](painted, wanted).sum())(painted)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[2:]).max() > 0
