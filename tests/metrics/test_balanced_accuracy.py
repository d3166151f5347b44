"""Balanced accuracy is scikit-learn's, and its interval that of a plain bootstrap over groups."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from hpax.metrics import balanced_accuracy


def _answers(n=300, groups=20):
    rng = np.random.default_rng(0)
    truth, group = rng.choice(["er", "golgi", "nucleus"], n, p=[0.6, 0.3, 0.1]), rng.integers(0, groups, n)
    told = np.where(rng.uniform(size=n) < 0.3 + 0.5 * (group % 2), truth, "er")
    return truth, told, group


def test_equals_scikit_learn():
    truth, told, _ = _answers()
    assert balanced_accuracy.score(truth, told) == pytest.approx(balanced_accuracy_score(truth, told))


def test_the_interval_is_that_of_resamples_drawn_one_by_one():
    truth, told, group = _answers()
    found = balanced_accuracy.interval(truth, told, group, resamples=4000)
    rng, scores = np.random.default_rng(1), []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(group == own) for own in rng.integers(0, 20, 20)])
        scores.append(balanced_accuracy.score(truth[rows], told[rows]))
    assert found.value == pytest.approx(balanced_accuracy_score(truth, told))
    np.testing.assert_allclose([found.low, found.high], np.quantile(scores, [0.025, 0.975]), atol=0.01)
    assert found.sd == pytest.approx(np.std(scores), rel=0.1)


def test_drawing_in_parts_changes_nothing(monkeypatch):
    answers = _answers()
    whole = balanced_accuracy.interval(*answers)
    monkeypatch.setattr(balanced_accuracy, "_AT_ONCE", 999)
    parts = balanced_accuracy.interval(*answers)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.01)


def test_answers_must_be_of_the_same_examples(untyped):
    truth, told, _ = _answers()
    with pytest.raises(ValueError, match="as many answers as examples"):
        balanced_accuracy.interval(truth, told[:-1])


def test_the_difference_of_two_is_that_of_paired_resamples():
    truth, told, group = _answers()
    other = np.where(np.random.default_rng(3).uniform(size=len(truth)) < 0.2, "nucleus", told)
    found = balanced_accuracy.interval(truth, told, group, than=other, resamples=4000)
    assert found.value == pytest.approx(balanced_accuracy_score(truth, told) - balanced_accuracy_score(truth, other))
    rng, differences = np.random.default_rng(1), []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(group == own) for own in rng.integers(0, 20, 20)])
        mine, others = (balanced_accuracy.score(truth[rows], answers[rows]) for answers in (told, other))
        differences.append(mine - others)
    np.testing.assert_allclose([found.low, found.high], np.quantile(differences, [0.025, 0.975]), atol=0.01)
    same = balanced_accuracy.interval(truth, told, group, than=told)
    assert (same.value, same.low, same.high) == (0, 0, 0)
