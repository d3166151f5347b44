"""Classifiers tell classes of groups that they have not seen."""

import numpy as np
import pytest

from hpax.metrics import classifiers


def _cells(n=240, groups=24, classes=3, seed=0, known=2.0):
    rng = np.random.default_rng(seed)
    group = np.arange(n) % groups
    label = group % classes
    centres = known * np.eye(classes, 6)[label] + 0.3 * rng.normal(size=(groups, 6))[group]
    return centres + 0.5 * rng.normal(size=(n, 6)), np.array(["er", "golgi", "nucleus"])[label], group


@pytest.mark.parametrize("kind", ["logistic", "forest"])
def test_classes_are_told_and_noise_is_chance(kind):
    told = classifiers.benchmark(*_cells(), kind=kind, trees=20)
    assert told.balanced_accuracy > 0.9
    assert told.interval.low <= told.balanced_accuracy <= told.interval.high
    assert np.mean(told.by_fold) == pytest.approx(told.balanced_accuracy, abs=0.05)
    assert (told.classes, told.counts, told.groups) == (("er", "golgi", "nucleus"), (80, 80, 80), 24)
    blind = classifiers.benchmark(*_cells(known=0), kind=kind, trees=20)
    assert blind.balanced_accuracy < 0.55


def test_features_of_the_group_alone_tell_nothing():
    """Each group has its own spot: folds by cell would tell all, folds by group tell none."""
    rng = np.random.default_rng(0)
    group = np.arange(240) % 24
    features = rng.normal(size=(24, 8))[group] + 0.01 * rng.normal(size=(240, 8))
    assert classifiers.benchmark(features, group % 3, np.arange(240), kind="forest", trees=20).balanced_accuracy > 0.95
    assert classifiers.benchmark(features, group % 3, group, kind="forest", trees=20).balanced_accuracy < 0.65


def test_classes_of_one_group_are_left_out_and_named():
    features, labels, group = _cells()
    labels = np.where(group == 5, "rare", labels)
    told = classifiers.benchmark(features, labels, group)
    assert told.single_group_classes == ("rare",)
    assert "rare" not in told.classes
    asked = classifiers.benchmark(features, labels, group, query=group < 6)
    assert sum(asked.counts) == 50
    with pytest.raises(ValueError, match="two classes must occur in two groups"):
        classifiers.benchmark(features, group, group)
    with pytest.raises(ValueError, match="row 3 are not"):
        classifiers.benchmark(np.where(np.arange(240)[:, None] == 3, np.nan, features), labels, group)


def test_a_fit_that_stops_early_is_counted():
    model = classifiers.classifier("logistic")
    model[-1].estimator.max_iter = 1
    features, labels, _ = _cells()
    assert classifiers.fit(model, features, labels) > 0


@pytest.mark.slow
def test_many_processes_learn_what_one_does():
    """To the bit, and what stops early is counted among them all: warnings of other processes are not heard."""
    features, labels, _ = _cells()
    for most in (1, 100):
        one, many = (classifiers.classifier("logistic", processes=count) for count in (1, 2))
        one[-1].estimator.max_iter = many[-1].estimator.max_iter = most
        assert classifiers.fit(one, features, labels) == classifiers.fit(many, features, labels)
        np.testing.assert_array_equal(one.predict_proba(features), many.predict_proba(features))


def test_a_rare_class_does_not_decide_the_folds():
    """Three cells of a rare class in two groups: the others keep their five folds."""
    features, labels, group = _cells()
    labels = labels.copy()
    labels[np.flatnonzero(group == 3)[:2]] = labels[np.flatnonzero(group == 7)[0]] = "rare"
    told = classifiers.benchmark(features, labels, group)
    assert (told.folds, len(told.by_fold)) == (5, 5)
    assert "rare" in told.classes
    few = classifiers.benchmark(features[group < 6], labels[group < 6], np.minimum(group[group < 6], 3))
    assert few.folds == 4
    sparse = np.repeat([0, 1, 2], 4)
    assert classifiers.benchmark(features[:12], sparse, np.arange(12)).folds == 4
