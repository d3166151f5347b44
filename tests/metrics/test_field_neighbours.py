"""Neighbours tell fields of several classes as those of scikit-learn do; features that know nothing are at chance."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from hpax.metrics import field_neighbours
from hpax.metrics.field_neighbours import benchmark


def _cells(fields=24, most=9, classes=4, strength=2.0, seed=0):
    """Fields of one to `most` cells with one or two classes, which their features know by `strength`."""
    rng = np.random.default_rng(seed)
    of_fields = np.zeros((fields, classes), np.uint8)
    for row in of_fields:
        row[rng.choice(classes, rng.integers(1, 3), replace=False)] = 1
    field = rng.permutation(np.repeat(np.arange(fields), rng.permutation(np.arange(fields) % most + 1)))
    of_classes = rng.normal(size=(classes, 6))
    features = strength * of_fields[field] @ of_classes + rng.normal(size=(len(field), 6))
    return (100 + 3 * features).astype(np.float32), of_fields[field], np.array([f"field {each}" for each in field])


def test_equals_scikit_learn():
    features, labels, fields = _cells()
    result = benchmark(features, labels, fields, k=(1, 5), least=1)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    for k in (1, 5):
        told = []
        for name in result.fields:
            own = fields == name
            model = KNeighborsRegressor(k, algorithm="brute").fit(scaled[~own], labels[~own])
            told.append(model.predict(scaled[own]).mean(0) / labels[~own].mean(0))
        np.testing.assert_allclose(result.scores[k], told)
        truth = np.array([labels[fields == name][0] for name in result.fields])
        expected = [average_precision_score(*columns) for columns in zip(truth.T, np.array(told).T, strict=True)]
        np.testing.assert_allclose(result.ap[k], expected)
        assert result.interval[k].value == pytest.approx(np.mean(expected))
        assert result.interval[k].low <= result.interval[k].value <= result.interval[k].high
    assert result.cells == len(features)


def test_fields_of_one_protein_are_left_out_together():
    """Each protein has its own spot in all its fields; its classes mean nothing."""
    rng = np.random.default_rng(0)
    protein = np.repeat(np.arange(20), 12)
    fields = np.array([f"{own} {place}" for own, place in zip(protein, np.arange(240) % 3, strict=True)])
    labels = np.stack([protein % 2 == 0, protein % 4 < 2], axis=1).astype(np.uint8)
    features = rng.normal(size=(20, 4))[protein] + 0.01 * rng.normal(size=(240, 4))
    alone, apart = (benchmark(features, labels, fields, groups, k=5) for groups in (None, protein))
    assert alone.interval[5].value == 1
    assert apart.interval[5].value < 0.8
    assert apart.interval[5].sd > 0  # of proteins
    others = protein != 3
    model = KNeighborsRegressor(5, algorithm="brute").fit(features[others], labels[others])
    told = model.predict(features[fields == "3 1"]).mean(0) / labels[others].mean(0)
    raw = benchmark(features, labels, fields, protein, k=5, standardise=False, resamples=1)
    np.testing.assert_allclose(raw.scores[5][raw.fields.tolist().index("3 1")], told)
    everywhere = np.isin(protein, (0, 2))[:, None].astype(np.uint8)  # six fields of two proteins
    assert field_neighbours.enough(everywhere, fields, protein)
    assert not field_neighbours.enough((protein == 0)[:, None].astype(np.uint8), fields, protein, least=1)


def test_features_that_know_nothing_are_at_chance_and_others_above():
    values, chances = [], []
    for seed in range(30):
        features, labels, fields = _cells(seed=seed, strength=0.0)
        result = benchmark(features, labels, fields, k=5, resamples=1)
        values.append(result.interval[5].value)
        chances.append(result.chance[5])
    spread = np.std(values) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(np.mean(chances), abs=3 * spread)
    assert spread < 0.02
    features, labels, fields = _cells()
    assert benchmark(features, labels, fields, k=5).interval[5].value > 0.8


def test_the_order_of_cells_and_a_feature_s_scale_mean_nothing():
    features, labels, fields = _cells()
    order = np.random.default_rng(1).permutation(len(features))
    scaled = features * np.linspace(1, 50, features.shape[1], dtype=np.float32)
    one, other = benchmark(features, labels, fields, k=5), benchmark(scaled[order], labels[order], fields[order], k=5)
    np.testing.assert_allclose(one.scores[5], other.scores[5])
    assert one.interval[5].value == pytest.approx(other.interval[5].value)


def test_chance_is_that_of_other_features_of_the_same_cells():
    features, labels, fields = _cells()
    noise = np.random.default_rng(0).normal(size=features.shape)
    one, other = (benchmark(each, labels, fields, k=(1, 5), resamples=1) for each in (features, noise))
    assert one.chance == other.chance
    given = benchmark(noise, labels, fields, k=(1, 5), resamples=1, chance=one.chance)
    assert given.chance == other.chance
    np.testing.assert_array_equal(given.scores[5], other.scores[5])


def test_a_class_of_few_or_of_all_fields_is_not_asked_about():
    features, labels, fields = _cells()
    names = np.unique(fields)
    everywhere = np.ones((len(labels), 1), np.uint8)
    rare = np.isin(fields, names[:3])[:, None].astype(np.uint8)
    result = benchmark(features, np.concatenate([everywhere, labels, rare], axis=1), fields, k=5)
    assert result.classes.tolist() == [1, 2, 3, 4]
    assert result.labels.shape == (len(names), 4)
    assert not field_neighbours.enough(np.concatenate([everywhere, rare], axis=1), fields)
    assert field_neighbours.enough(rare, fields, least=3)


def test_leads_are_over_the_same_resamples():
    features, labels, fields = _cells()
    good = benchmark(features, labels, fields, k=5)
    nearly = benchmark(features + np.float32(0.01), labels, fields, k=5)
    lead = good.more_than(nearly, 5)
    assert abs(lead.value) < 0.02
    assert lead.sd < 0.2 * good.interval[5].sd
    noise = benchmark(np.random.default_rng(0).normal(size=features.shape), labels, fields, k=5)
    lead = good.more_than(noise, 5)
    assert lead.value == pytest.approx(good.interval[5].value - noise.interval[5].value)
    assert lead.low > 0
    kept = fields != fields[0]
    with pytest.raises(ValueError, match="same fields"):
        good.more_than(benchmark(features[kept], labels[kept], fields[kept], k=5), 5)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"fields": np.repeat("one", 4)}, "another group"),
        ({"groups": np.repeat("one", 4)}, "another group"),
        ({"groups": np.array(["a", "b", "b", "b"])}, "share its labels and group, cell 1"),
        ({"groups": np.array(["a", "a", "b"])}, "of the same cells"),
        ({"fields": np.array(["a", "b", "c"])}, "of the same cells"),
        ({"labels": np.array([[1, 0], [0, 1], [0, 1], [0, 1]])}, "share its labels and group, cell 1"),
        ({"labels": np.full((4, 2), 0.5)}, "must be 0 or 1"),
        ({"features": np.array([[0.0], [1.0], [np.nan], [2.0]])}, "must be finite"),
        ({"k": 0}, "at least 1"),
        ({"least": 2}, "shown by 2 fields"),
    ],
)
def test_what_means_nothing_is_refused(change, match):
    given = {
        "features": np.arange(4.0)[:, None],
        "labels": np.array([[1, 0], [1, 0], [0, 1], [0, 1]]),
        "fields": np.array(["a", "a", "b", "b"]),
        "groups": None,
        "k": 1,
        "least": 1,
    }
    with pytest.raises(ValueError, match=match):
        benchmark(**(given | change))
