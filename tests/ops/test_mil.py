"""What cells say together: by the definitions, without order, and deaf to cells that are not there."""

from typing import get_args

import jax
import numpy as np
import pytest
from scipy.special import expit, logit

from hpax.ops.mil import Pooling, mean_present, pooled

PRESENT = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
each_pooling = pytest.mark.parametrize("how", get_args(Pooling))


def _logits(seed=0):
    return np.random.default_rng(seed).normal(0, 2, (3, 4, 5)).astype(np.float32)


def _expected(logits, how):
    if how == "noisy-or":
        return logit(1 - np.prod(1 - expit(logits.astype(float)), axis=0))
    return getattr(np, how)(logits, axis=0)


@each_pooling
def test_is_what_its_name_says_of_the_present_cells(how):
    found = pooled(_logits(), PRESENT, how)
    for row in (0, 1):
        expected = _expected(_logits()[row][PRESENT[row] > 0], how)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


@each_pooling
def test_cells_have_no_order_and_absent_ones_no_say(how):
    logits, order = _logits(), [2, 0, 3, 1]
    expected = pooled(logits, PRESENT, how)
    np.testing.assert_allclose(pooled(logits[:, order], PRESENT[:, order], how), expected, rtol=1e-5, atol=1e-6)
    for junk in (99.0, -99.0, np.nan):
        changed = np.where(PRESENT[..., None] > 0, logits, np.float32(junk))
        np.testing.assert_array_equal(pooled(changed, PRESENT, how), expected)


@each_pooling
def test_slopes_are_finite_and_none_goes_to_absent_cells(how):
    slope = jax.jit(jax.grad(lambda x: pooled(x, PRESENT, how).sum()))
    for scale in (1, 50):
        slopes = np.asarray(slope(scale * _logits()))
        assert np.isfinite(slopes).all()
        np.testing.assert_array_equal(slopes[PRESENT == 0], 0)
        assert (np.abs(slopes[:2]).sum((1, 2)) > 0.5).all()


def test_a_noisy_or_keeps_small_and_large_odds_apart():
    """One cell alone is its own logit, however sure; two equal unlikely ones double the odds."""
    line = np.array([-60.0, -20, -3, 0, 3, 20, 60], np.float32)
    np.testing.assert_allclose(pooled(line[None, None], np.ones((1, 1)), "noisy-or")[0], line, rtol=1e-4, atol=1e-5)
    twice = pooled(np.full((1, 2, 1), -20, np.float32), np.ones((1, 2)), "noisy-or")
    np.testing.assert_allclose(twice, [[-20 + np.log(2)]], rtol=1e-5)


def test_the_mean_of_present_cells():
    values = _logits()[..., 0]
    expected = [values[0, [0, 1, 3]].mean(), values[1, 0], 0]
    np.testing.assert_allclose(mean_present(values, PRESENT), expected, rtol=1e-5)
