"""Embeddings have the papers' settings, keep neighbours, and place further cells among those of the reference."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from hpax.analysis import embed
from hpax.explore import scatter


def clusters(count=4, each=30, seed=0, d=10):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(count), each))
    return (8 * np.eye(count, d)[labels] + random.normal(size=(len(labels), d))).astype(np.float32), labels


def test_the_settings_are_those_of_the_papers():
    assert (embed.LE_CELLS.neighbours, embed.LE_CELLS.min_dist, embed.LE_CELLS.components) == (15, 0.01, 3)
    assert (embed.LU_PROTEINS.neighbours, embed.LU_PROTEINS.min_dist) == (20, 0.3)


@pytest.mark.slow
def test_proteins_are_embedded_as_pages_embed_cells():
    features, _ = clusters()
    np.testing.assert_array_equal(embed.umap(features, embed.LU_PROTEINS, seed=1), scatter.embed(features, seed=1))


@pytest.mark.slow
def test_cells_beyond_the_reference_lie_among_their_kind():
    features, labels = clusters(each=60)
    places = embed.umap(features, embed.LE_CELLS, seed=0, reference=80)
    assert places.shape == (240, 3)
    assert np.isfinite(places).all()
    assert KNeighborsClassifier(5).fit(places, labels).score(places, labels) > 0.95
    np.testing.assert_array_equal(places, embed.umap(features, embed.LE_CELLS, seed=0, reference=80))


def test_principal_components_keep_distances_of_standardised_features():
    features, _ = clusters(d=6)
    features = np.c_[features * np.arange(1, 7), np.ones(len(features))].astype(np.float32)
    found = embed.principal(features, 50)
    standard = (features[:, :6] - features[:, :6].mean(0)) / features[:, :6].std(0)
    for one, other in ((0, 1), (5, 90)):
        expected = np.linalg.norm(standard[one] - standard[other])
        np.testing.assert_allclose(np.linalg.norm(found[one] - found[other]), expected, rtol=1e-3)
    assert embed.principal(features, 2).shape == (120, 2)
    assert (embed.principal(np.ones((5, 3), np.float32)) == 0).all()
