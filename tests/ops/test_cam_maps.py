"""Pooling over places, tiles of any image, and maps that stay finite."""

import jax
import numpy as np
import pytest
from scipy.stats import pmean

from hpax.ops import cam


def _maps(seed=0, shape=(2, 4, 5, 3)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("power", [1.0, 3.0, 6.5])
def test_gem_is_the_power_mean(power):
    features = np.abs(_maps())
    expected = pmean(features.reshape(2, 20, 3).astype(float), power, axis=1)
    np.testing.assert_allclose(cam.gem(features, power), expected, rtol=1e-4)


def test_gem_goes_from_the_average_to_the_maximum_and_its_slopes_are_finite():
    features = 50 * np.abs(_maps())
    pooled = [cam.gem(features, power) for power in (1.0, 3.0, 30.0, 3000.0)]
    np.testing.assert_allclose(pooled[0], features.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pooled[-1], features.max((1, 2)), rtol=2e-3)
    assert (np.diff(pooled, axis=0) > 0).all()
    for nothing in (np.zeros_like(features), -features):
        np.testing.assert_allclose(cam.gem(nothing, 3.0), np.full((2, 3), 1e-6), rtol=1e-4)
        slopes = jax.jit(jax.grad(lambda x, p: cam.gem(x, p).sum(), (0, 1)))(nothing, 3.0)
        assert all(np.isfinite(slope).all() for slope in slopes)


def test_gem_has_the_slope_of_a_power_mean():
    """The maximum that powers are shares of is held still, which must not show."""
    features, step = np.abs(_maps(shape=(1, 2, 2, 1))) + 0.5, 1e-3
    slope = jax.grad(lambda x: cam.gem(x, 3.0).sum())(features)
    for place in np.ndindex(2, 2):
        moved = [features.astype(float) for _ in range(2)]
        moved[0][0, *place], moved[1][0, *place] = features[0, *place] + step, features[0, *place] - step
        low_high = [pmean(each.reshape(-1), 3.0) for each in moved]
        assert slope[0, *place, 0] == pytest.approx((low_high[0] - low_high[1]) / (2 * step), rel=1e-3)


def test_log_mean_exp_lies_between_mean_and_maximum():
    maps = _maps()
    values = [cam.log_mean_exp(maps, sharpness=sharpness) for sharpness in (1e-2, 1.0, 5.0, 1e3)]
    np.testing.assert_allclose(values[0], maps.mean((1, 2)), atol=2e-2)
    np.testing.assert_allclose(values[-1], maps.max((1, 2)), atol=1e-2)
    assert (np.diff(values, axis=0) > 0).all()
    assert np.isfinite(cam.log_mean_exp(1e4 * maps)).all()


@pytest.mark.parametrize(
    ("h", "w", "tiles", "multiple"), [(6, 6, 2, 1), (5, 7, 2, 1), (1, 3, 2, 4), (23, 9, 3, 5), (8, 8, 1, 4)]
)
def test_tiles_put_together_are_the_image_whatever_its_size(h, w, tiles, multiple):
    images = np.random.default_rng(0).normal(size=(2, h, w, 2)).astype(np.float32)
    parts = cam.tiled(images, tiles, multiple=multiple)
    assert len(parts) == 2 * tiles**2
    assert not any(side % multiple for side in parts.shape[1:3])
    np.testing.assert_array_equal(cam.merged(parts, tiles, (h, w)), images)


def test_tiles_go_row_by_row_and_image_by_image():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    parts = cam.tiled(np.concatenate([image, image + 100]), 2)
    np.testing.assert_array_equal(parts[1, ..., 0], [[2, 3], [6, 7]])
    np.testing.assert_array_equal(parts[6, ..., 0], [[108, 109], [112, 113]])


def test_maps_that_lost_places_at_the_borders_of_tiles_are_stretched():
    flat = np.ones((4, 2, 2, 3), np.float32)
    np.testing.assert_allclose(cam.merged(flat, 2, (6, 5)), np.ones((1, 6, 5, 3)), rtol=1e-6)


def test_normalised_maps_are_shares_of_the_maximum():
    maps = _maps()
    found = cam.normalised(maps)
    highest = maps.max((1, 2), keepdims=True)
    np.testing.assert_allclose(found, np.maximum(maps, 0) / highest, atol=1e-4)
    assert ((found >= 0) & (found < 1)).all()


@pytest.mark.parametrize("value", [0.0, -1e-6, -3.0, -1e30])
def test_maps_without_anything_positive_are_zero(value):
    maps = np.full((1, 3, 3, 2), value, np.float32)
    np.testing.assert_array_equal(cam.normalised(maps), np.zeros_like(maps))
    assert np.isfinite(jax.jit(jax.grad(lambda x: cam.normalised(x).sum()))(maps)).all()


def test_maps_disagree_only_about_classes_that_are_there():
    maps, others, labels = _maps(0), _maps(1), np.array([[1, 0, 0], [1, 0, 0.5]], np.float32)
    expected = [sum(label * np.abs(a - b)[..., k].mean() for k, label in enumerate(y)) / 3
                for a, b, y in zip(maps, others, labels, strict=True)]  # fmt: skip
    np.testing.assert_allclose(cam.cam_consistency(maps, others, labels), expected, rtol=1e-5)
    changed = others + np.array([0, 9, 0], np.float32)
    np.testing.assert_allclose(cam.cam_consistency(maps, changed, labels), expected, rtol=1e-5)
    np.testing.assert_array_equal(cam.cam_consistency(maps, maps, labels), np.zeros(2))
