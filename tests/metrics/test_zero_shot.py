"""Reports of fields that no network learnt from, against answers by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hpax.metrics import zero_shot

IDS = [f"f{number}" for number in range(8)]
LABELS = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 1], [0, 1, 0]], np.uint8)
PROB = np.round(np.random.default_rng(3).uniform(0.05, 0.95, (8, 3)), 2)


def score(labels=LABELS, prob=PROB, **options):
    return zero_shot.score(labels, prob, **({"ids": IDS, "resamples": 50} | options))


def test_average_precision_is_that_of_scikit_learn_over_frequent_classes():
    report = score()
    own = [average_precision_score(LABELS[:, k], PROB[:, k]) for k in range(3)]
    assert report.scores.ap == pytest.approx(own)
    assert report.chosen.tolist() == [True, True, False]
    assert report.mean_ap == pytest.approx(np.mean(own[:2]))
    assert report.chance == pytest.approx([0.5, 5 / 8, 1 / 8])
    assert report.mean_chance == pytest.approx((0.5 + 5 / 8) / 2)
    assert report.interval.low <= report.mean_ap <= report.interval.high


def test_the_order_of_fields_means_nothing():
    order = np.random.default_rng(0).permutation(8)
    one, other = score(), score(LABELS[order], PROB[order], ids=[IDS[k] for k in order])
    assert other.mean_ap == pytest.approx(one.mean_ap)
    assert set(other.mistakes) == set(one.mistakes)
    np.testing.assert_array_equal(one.confusion, other.confusion)


def test_truth_as_probabilities_is_perfect():
    report = score(prob=LABELS.astype(float))
    assert report.mean_ap == 1
    assert report.error == 0
    assert not report.confusion.any()
    assert report.taken_for(0) == (-1, 0)
    assert {mistake.probability for mistake in report.mistakes} == {0.0}


def test_confusion_counts_the_top_class_where_it_is_wrong():
    prob = np.tile([0.9, 0.2, 0.1], (8, 1))
    report = score(prob=prob)
    expected = np.zeros((3, 3), int)
    expected[1, 0], expected[2, 0] = 4, 1
    np.testing.assert_array_equal(report.confusion, expected)
    assert report.taken_for(1) == (0, 4)


def test_classes_that_are_said_first_or_among_the_first_are_counted():
    labels = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]], np.uint8)
    prob = np.array([[0.9, 0.8, 0.7, 0.1], [0.2, 0.9, 0.4, 0.3], [0.9, 0.8, 0.7, 0.6]])
    report = zero_shot.score(labels, prob, ids=["a", "b", "c"], resamples=5)
    assert report.first.tolist() == [1, 1, 0, 0]
    assert report.among.tolist() == [1, 1, 0, 0]
    np.testing.assert_array_equal(zero_shot.ranked(labels, prob, 4), labels.sum(0))
    rows = zero_shot.class_rows({"head": report})
    assert dict(zip(zero_shot.columns({"head": report}), rows[0], strict=True))["first"] == 1


def test_mistakes_come_by_confidence_one_of_each_field():
    report = score()
    assert [mistake.probability for mistake in report.mistakes] == sorted(
        (float(row[label == 0].max()) for row, label in zip(PROB, LABELS, strict=True)), reverse=True
    )
    first = report.mistakes[0]
    assert LABELS[IDS.index(first.field), first.label] == 0
    assert first.shown == tuple(np.flatnonzero(LABELS[IDS.index(first.field)]))


def test_without_a_frequent_class_the_mean_is_undefined():
    report = score(least=9)
    assert np.isnan(report.mean_ap)
    assert np.isnan(report.mean_chance)
    assert np.isnan(report.error)


def test_groups_are_drawn_whole():
    alike = score(groups=["one"] * 8)
    assert alike.interval.low == alike.interval.high == pytest.approx(alike.mean_ap)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="an id for each, got 8 fields and 2 ids"):
        score(ids=["a", "b"])
