import numpy as np
import pytest

from hpax.ops.correlation import pearson


def test_equals_numpy():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 4, 6, 1)).astype(np.float32)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pearson(a, b), expected, atol=1e-6)


@pytest.mark.parametrize(("gain", "sign"), [(3.0, 1), (-0.5, -1)])
def test_ignores_gain_and_offset(gain, sign):
    a = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(pearson(a, gain * a + 2), np.full(5, sign), atol=1e-5)


def test_is_zero_where_an_image_is_constant():
    a = np.stack([np.zeros((4, 4)), np.eye(4)]).astype(np.float32)
    np.testing.assert_allclose(pearson(a, a), [0, 1], atol=1e-6)
