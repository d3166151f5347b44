"""Losses against scikit-learn, NumPy and the definition of the Lovász extension; each example on its own."""

import itertools

import jax
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import jaccard_score, log_loss

from hpax.ops import losses

WEIGHTS = np.array([0.5, 1, 2, 1, 0.5, 1, 2, 0], np.float32)
LOSSES = {
    "bce": losses.bce,
    "weighted": losses.weighted_bce(WEIGHTS),
    "focal": losses.focal(),
    "lovasz": losses.lovasz,
    "hard": losses.hard_negative_bce(2),
    "focal_lovasz_bce": losses.focal_lovasz_bce,
    "smoothed": losses.smoothed(losses.bce),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def _drawn(b=6, n=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((b, n)) < 0.3).astype(np.float32)
    labels[0], labels[1] = 0, 1
    return rng.normal(0, 2, (b, n)).astype(np.float32), labels


def _terms(logits, labels):
    p = expit(np.asarray(logits, float))
    return -labels * np.log(p) - (1 - labels) * np.log(1 - p)


def test_bce_is_scikit_learns():
    logits, labels = _drawn()
    expected = [log_loss(y, expit(x), labels=[0, 1]) for x, y in zip(logits.astype(float), labels, strict=True)]
    np.testing.assert_allclose(losses.bce(logits, labels), expected, rtol=1e-5)


def test_weights_multiply_the_terms_of_classes():
    logits, labels = _drawn()
    expected = (WEIGHTS * _terms(logits, labels)).mean(1)
    np.testing.assert_allclose(losses.weighted_bce(WEIGHTS)(logits, labels), expected, rtol=1e-5)
    ones = losses.weighted_bce(np.ones(8, np.float32))
    np.testing.assert_allclose(ones(logits, labels), losses.bce(logits, labels), rtol=1e-6)


def test_rare_classes_weigh_more():
    labels = np.zeros((100, 3), np.float32)
    labels[:64, 0], labels[:16, 1] = 1, 1
    np.testing.assert_allclose(losses.rarity(labels) / losses.rarity(labels)[0], [1, 2, 8], rtol=1e-5)
    np.testing.assert_allclose(losses.rarity(labels, power=1.0).mean(), 1, rtol=1e-6)
    np.testing.assert_allclose(losses.rarity(labels, power=0.0), np.ones(3))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_loss_by_hand(gamma):
    logits, labels = _drawn()
    p = expit(logits.astype(float))
    true = np.where(labels > 0, p, 1 - p)
    expected = (-((1 - true) ** gamma) * np.log(true)).mean(1)
    np.testing.assert_allclose(losses.focal(gamma)(logits, labels), expected, rtol=1e-4)


def _choquet(logits, labels):
    """The Lovász extension as an integral over thresholds t ≥ 0 of the Jaccard loss of {errors > t}."""
    errors = np.maximum(1 - logits * (2 * labels - 1), 0).astype(float)
    positives, total = set(np.flatnonzero(labels)), 0.0
    levels = [0.0, *np.unique(errors[errors > 0])]
    for low, high in itertools.pairwise(levels):
        wrong = set(np.flatnonzero(errors > low))
        total += (high - low) * (1 - len(positives - wrong) / len(positives | wrong))
    return total


def test_lovasz_hinge_is_the_integral_of_the_jaccard_loss():
    logits, labels = _drawn(b=12)
    expected = [(_choquet(x, y) + _choquet(-x, 1 - y)) / 2 for x, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(losses.lovasz(logits, labels), expected, rtol=1e-5)


def test_lovasz_hinge_of_decided_logits_is_twice_the_jaccard_loss():
    logits, labels = _drawn(b=12)
    guess = logits > 0
    y, x = (np.concatenate([each, 1 - each]) for each in (labels[2:], guess[2:].astype(float)))
    expected = 2 - 2 * jaccard_score(y, x, average="samples", zero_division=1.0)
    np.testing.assert_allclose(losses.lovasz(2.0 * guess - 1, labels)[2:].mean(), expected, rtol=1e-5)


def test_hard_negatives_alone_count():
    logits, labels = _drawn()
    terms = _terms(logits, labels)
    for row, (x, y) in enumerate(zip(terms, labels, strict=True)):
        kept = [*x[y > 0], *sorted(x[y == 0])[::-1][:2]]
        np.testing.assert_allclose(losses.hard_negative_bce(2)(logits, labels)[row], np.mean(kept), rtol=1e-5)
    for many in (8, 50):
        np.testing.assert_allclose(
            losses.hard_negative_bce(many)(logits, labels), losses.bce(logits, labels), rtol=1e-6
        )


def test_the_winners_sum():
    logits, labels = _drawn()
    parts = (
        8 * losses.focal(2.0)(logits, labels),
        losses.lovasz(logits, labels),
        losses.hard_negative_bce()(logits, labels),
    )
    np.testing.assert_allclose(losses.focal_lovasz_bce(logits, labels), sum(parts) / 2, rtol=1e-5)


def test_smoothed_labels_ask_for_a_finite_logit():
    labels = np.array([[0.0, 1.0]], np.float32)
    best = logit(np.array([[0.05, 0.95]], np.float32))
    slope = jax.grad(lambda x: losses.smoothed(losses.bce, 0.1)(x, labels).sum())
    np.testing.assert_allclose(slope(best), np.zeros((1, 2)), atol=1e-6)


@each_loss
def test_an_example_is_on_its_own_and_its_classes_have_no_order(loss):
    weighs_alike = loss is not LOSSES["weighted"]
    logits, labels = _drawn()
    loss = jax.jit(loss)
    together = loss(logits, labels)
    alone = [loss(x, y) for x, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    stacked = loss(logits.reshape(2, 3, 8), labels.reshape(2, 3, 8))
    np.testing.assert_allclose(stacked.reshape(-1), together, rtol=1e-6)
    if weighs_alike:
        np.testing.assert_allclose(loss(logits[:, ::-1], labels[:, ::-1]), together, rtol=1e-5)


@each_loss
def test_truth_costs_nothing_error_costs_and_slopes_are_finite(loss):
    _, labels = _drawn()
    right = 200 * (labels - 0.5)
    costs = loss(right, labels)
    np.testing.assert_array_less(costs, 5.1 if loss is LOSSES["smoothed"] else 1e-6)  # it moves 100 by a twentieth
    assert (loss(-right, labels) > costs).all()
    slope = jax.jit(jax.grad(lambda x, y: loss(x, y).sum()))
    for x in (right, -right, 0 * right):
        assert np.isfinite(slope(x, labels)).all()
        assert np.isfinite(slope(x, 0 * labels + 0.5)).all()


def _cosines(b=5, a=4):
    return np.random.default_rng(1).uniform(-1, 1, (b, a)).astype(np.float32), np.array([0, 3, 1, 2, 3])


def test_arcface_without_margin_is_cross_entropy():
    cosines, classes = _cosines()
    expected = log_loss(classes, np.exp(7 * cosines) / np.exp(7 * cosines).sum(1, keepdims=True))
    found = losses.arcface(cosines, classes, scale=7.0, margin=0.0)
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-4)


def test_arcface_widens_the_true_angle():
    cosines, classes = _cosines(60)[0], np.arange(60) % 4
    angles = np.arccos(cosines.astype(float))
    true = angles[np.arange(60), classes]
    fits = true + 0.5 < np.pi
    angles[np.arange(60), classes] += 0.5
    scaled = 30 * np.cos(angles)
    expected = np.log(np.exp(scaled).sum(1)) - scaled[np.arange(60), classes]
    found = losses.arcface(cosines, classes)
    np.testing.assert_allclose(found[fits], expected[fits], rtol=1e-3, atol=1e-4)
    assert 0 < (~fits).sum() < 30


def test_arcface_falls_with_the_true_cosine_and_its_slope_is_finite():
    line = np.linspace(-1, 1, 201, dtype=np.float32)
    cosines = np.stack([line, np.zeros_like(line)], 1)
    classes = np.zeros(201, int)
    assert (np.diff(losses.arcface(cosines, classes)) <= 1e-6).all()
    slopes = jax.jit(jax.grad(lambda x: losses.arcface(x, classes).sum()))(cosines)
    assert np.isfinite(slopes).all()
