"""Protein means, their tree and its order agree with SciPy, and clusters are what was planted."""

import time

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial import distance
from sklearn.metrics import adjusted_rand_score

from hpax.analysis import cluster


def rows(kinds=5, each=8, d=6, seed=0, noise=0.4):
    random = np.random.default_rng(seed)
    kind = random.permutation(np.repeat(np.arange(kinds), each))
    return random.normal(size=(kinds, d))[kind] + noise * random.normal(size=(len(kind), d)), kind


def test_means_are_those_of_each_protein_and_scaled_features_are_standard():
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    proteins = np.array(["b", "a", "", "c", "a"] * 10)
    means = cluster.protein_means(features, proteins)
    assert means.names.tolist() == ["a", "b", "c"]
    assert means.cells.tolist() == [20, 10, 10]
    np.testing.assert_allclose(means.means[0], features[proteins == "a"].mean(0, dtype=np.float64), rtol=1e-6)
    scaled = cluster.scaled(np.c_[means.means, np.full(3, 7.0)])
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(0), [1, 1, 1, 0], atol=1e-6)


def test_a_tree_is_that_of_scipy_and_its_order_optimal():
    points, _ = rows()
    apart = distance.pdist(points, "correlation")
    grown = cluster.tree(points)
    oracle = hierarchy.linkage(apart, "average", optimal_ordering=True)
    np.testing.assert_allclose(grown.linkage[:, 2], oracle[:, 2], atol=1e-12)
    assert grown.exact
    assert grown.order.tolist() == hierarchy.leaves_list(oracle).tolist()


def test_clusters_are_the_planted_kinds_and_stand_together_in_the_order():
    points, kind = rows(noise=0.2)
    grown = cluster.tree(points)
    clusters = cluster.cut(grown.linkage, 5, grown.order)
    assert adjusted_rand_score(kind, clusters) == 1
    assert (np.diff(clusters[grown.order]) >= 0).all()
    assert set(clusters) == {1, 2, 3, 4, 5}
    assert cluster.best_count(points, grown, range(2, 10)) == 5


def test_beyond_the_optimal_order_groups_stay_together(monkeypatch):
    points, kind = rows(noise=0.1, each=20)
    monkeypatch.setattr(cluster, "OPTIMAL", 5)
    grown = cluster.tree(points)
    assert not grown.exact
    assert sorted(grown.order.tolist()) == list(range(100))
    assert (np.diff(kind[grown.order]) != 0).sum() == 4


def test_what_has_no_tree_is_refused():
    with pytest.raises(ValueError, match="2 to 16000 rows"):
        cluster.tree(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="leave out constant rows"):
        cluster.tree(np.ones((3, 4)))


def test_leiden_says_what_it_needs_or_finds_the_kinds():
    points, kind = rows(noise=0.1, each=20)
    try:
        import leidenalg  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install igraph leidenalg"):
            cluster.leiden(points)
    else:
        assert adjusted_rand_score(kind, cluster.leiden(points)) > 0.9


@pytest.mark.slow
def test_twelve_thousand_proteins_are_ordered_in_minutes():
    points, kind = rows(kinds=60, each=200, d=50)
    start = time.perf_counter()
    grown = cluster.tree(points.astype(np.float32))
    assert time.perf_counter() - start < 300
    assert adjusted_rand_score(kind, cluster.cut(grown.linkage, 60, grown.order)) > 0.8
