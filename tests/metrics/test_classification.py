"""Average precision and calibration are scikit-learn's, and mean what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score

from hpax.metrics import classification


def drawn(seed, examples=60, classes=4, steps=0):
    """Labels of classes from rare to common, and probabilities; these take few values if `steps` says so."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.7, 1.5, (examples, classes))
    labels = (rng.random((examples, classes)) < probabilities * np.linspace(0.2, 1, classes)).astype(np.uint8)
    return labels, np.round(probabilities * steps) / steps if steps else probabilities


@given(seed=st.integers(0, 500), examples=st.integers(2, 80), steps=st.sampled_from([0, 1, 5]))
@settings(deadline=None, max_examples=40)
def test_average_precision_is_that_of_scikit_learn(seed, examples, steps):
    labels, probabilities = drawn(seed, examples, steps=steps)
    found = classification.average_precision(labels, probabilities)
    for label, ap in enumerate(found):
        if labels[:, label].any():
            np.testing.assert_allclose(ap, average_precision_score(labels[:, label], probabilities[:, label]))
        else:
            assert np.isnan(ap)


@given(seed=st.integers(0, 500), bins=st.integers(1, 12), steps=st.sampled_from([0, 1, 5]))
@settings(deadline=None, max_examples=40)
def test_reliability_curves_are_those_of_scikit_learn(seed, bins, steps):
    labels, probabilities = drawn(seed, steps=steps)
    curves = classification.calibrate(labels, probabilities, bins)
    for label, count in enumerate(curves.counts):
        columns = labels[:, label], probabilities[:, label]
        frequency, probability = calibration_curve(*columns, n_bins=bins, strategy="quantile")
        np.testing.assert_allclose(curves.frequency[label][count > 0], frequency)
        np.testing.assert_allclose(curves.probability[label][count > 0], probability)
        assert count.sum() == len(labels)
        assert np.isnan(curves.frequency[label][count == 0]).all()
        expected = np.average(np.abs(frequency - probability), weights=count[count > 0])
        np.testing.assert_allclose(curves.error[label], expected, atol=1e-12)


def test_bins_hold_as_many_examples_each():
    labels, probabilities = drawn(0, examples=100)
    assert (classification.calibrate(labels, probabilities, 5).counts == 20).all()


def test_probabilities_that_hold_have_no_error_and_doubled_ones_do():
    rng = np.random.default_rng(0)
    probabilities = rng.random((50_000, 3)) / 2
    labels = rng.random(probabilities.shape) < probabilities
    errors = [classification.calibrate(labels, factor * probabilities).error for factor in (1, 2)]
    assert (errors[0] < 0.01).all()
    np.testing.assert_allclose(errors[1], 0.25, atol=0.01)


@pytest.mark.parametrize("steps", [0, 4])
def test_the_order_of_examples_means_nothing(steps):
    labels, probabilities = drawn(1, steps=steps)
    order = np.random.default_rng(0).permutation(len(labels))
    one, other = (classification.score(labels[rows], probabilities[rows]) for rows in (slice(None), order))
    np.testing.assert_allclose(one.ap, other.ap)
    np.testing.assert_allclose(one.calibration.error, other.calibration.error)


def test_means_are_over_the_classes_that_occur():
    labels, probabilities = drawn(2)
    labels[:, 1] = 0
    scores = classification.score(labels, probabilities)
    kept = [0, 2, 3]
    assert (scores.examples, scores.present, scores.positives[1]) == (60, 3, 0)
    np.testing.assert_allclose(scores.mean_ap, classification.score(labels[:, kept], probabilities[:, kept]).mean_ap)
    np.testing.assert_allclose(scores.mean_error, scores.calibration.error[kept].mean())


def test_without_examples_there_is_no_number():
    scores = classification.score(np.zeros((0, 3)), np.zeros((0, 3)))
    assert scores.present == 0
    assert np.isnan([*scores.ap, *scores.calibration.error, scores.mean_ap, scores.mean_error]).all()


@pytest.mark.parametrize(
    ("labels", "probabilities", "match"),
    [
        (np.ones((3, 2)), np.ones((2, 3)), "as many as"),
        (np.full((2, 2), 0.5), np.ones((2, 2)), "must be 0 or 1"),
        (np.ones((2, 2)), np.full((2, 2), 1.5), "within 0 and 1"),
        (np.ones((2, 2)), np.full((2, 2), np.nan), "within 0 and 1"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_what_means_nothing_is_refused(labels, probabilities, match):
    with pytest.raises(ValueError, match=match):
        classification.score(labels, probabilities)


def test_resamples_are_scikit_learn_s_of_repeated_examples():
    labels, probabilities = drawn(3, examples=40, classes=3, steps=6)
    groups = [f"field {row // 4}" for row in range(40)]
    seen = []
    for times in np.random.default_rng(5).multinomial(10, np.full(10, 0.1), 30):
        rows = np.repeat(np.arange(40), np.repeat(times, 4))
        present = [label for label in range(3) if labels[rows, label].any()]
        seen.append(average_precision_score(labels[rows][:, present], probabilities[rows][:, present]))
    found = classification.interval(labels, probabilities, groups, resamples=30, seed=5, level=0.9)
    np.testing.assert_allclose([found.low, found.high], np.quantile(seen, [0.05, 0.95]))
    np.testing.assert_allclose(found.sd, np.std(seen))
    assert found.value == classification.score(labels, probabilities).mean_ap


def test_examples_that_share_their_fate_say_less():
    labels, probabilities = (np.repeat(each, 5, axis=0) for each in drawn(4))
    fields = np.repeat(np.arange(60), 5).tolist()
    alone, together = (classification.interval(labels, probabilities, groups) for groups in (None, fields))
    assert together.sd > 1.8 * alone.sd


def test_a_bootstrap_needs_examples():
    with pytest.raises(ValueError, match="needs examples"):
        classification.interval(np.zeros((0, 3)), np.zeros((0, 3)))


@pytest.mark.usefixtures("untyped")
def test_a_difference_is_paired():
    labels, probabilities = drawn(3)
    other = drawn(4)[1]
    one, two = (classification.interval(labels, each) for each in (probabilities, other))
    found = classification.interval(labels, probabilities, than=other)
    assert found.value == pytest.approx(one.value - two.value)
    assert found.low < found.value < found.high
    same = classification.interval(labels, probabilities, than=probabilities**2)  # of the same order
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="match the examples"):
        classification.interval(labels, probabilities, than=other[1:])
