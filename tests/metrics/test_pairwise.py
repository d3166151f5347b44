"""Normalised pairwise distances are those of all pairs, and tell what features know of terms and of cell lines."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hpax.metrics import pairwise


def _cells(seed=0, term=1.0, line=1.0):
    """Twelve images of three terms in two cell lines, seven cells each."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(12), 7)
    terms, lines = image % 3, image // 3 % 2
    centres = term * rng.normal(size=(3, 5))[terms] + line * rng.normal(size=(2, 5))[lines]
    return centres + 0.5 * rng.normal(size=(84, 5)), np.array(["er", "golgi", "nucleus"])[terms], image, lines


def test_the_distance_of_two_images_is_the_mean_over_their_cells():
    features, _, image, _ = _cells()
    order = np.random.default_rng(1).permutation(84)
    found = pairwise.image_distances(features[order], image[order])
    expected = [[cdist(features[image == a], features[image == b]).mean() for b in range(12)] for a in range(12)]
    np.testing.assert_allclose(found, expected)


def test_many_draws_are_the_mean_of_all_pairs():
    features, terms, image, lines = _cells()
    scaled = (features - features.mean(0)) / features.std(0)
    between = pairwise.image_distances(scaled, image)
    term, line = terms[::7], lines[::7]
    ratios = []
    for name in np.unique(term):
        own = np.flatnonzero(term == name)
        same = between[np.ix_(own, own)][~np.eye(len(own), dtype=bool)].mean()
        others = [between[np.ix_(own, term == other)].mean() for other in np.unique(term) if other != name]
        ratios.append(same / np.mean(others) - 1)
    found = pairwise.distance(features, terms, image, pairs=40_000)
    assert found.value == pytest.approx(np.mean(ratios), abs=0.005)
    assert list(found.by_term.values()) == pytest.approx(ratios, abs=0.01)
    assert (found.terms, found.images, found.pairs) == (3, 12, 18)
    allowed = (line[:, None] != line) & ~np.eye(12, dtype=bool)
    same = (term[:, None] == term) & allowed
    expected = between[same].mean() / between[allowed & ~same].mean() - 1
    across = pairwise.distance(features, terms, image, lines, constraint="different", pairs=40_000)
    assert across.value == pytest.approx(expected, abs=0.005)


def test_features_of_terms_are_negative_and_of_lines_fail_across_lines():
    knows = pairwise.distance(*_cells(term=3, line=0)[:3])
    assert knows.value < -0.3
    assert knows.interval.low < knows.value < knows.interval.high < -0.1
    blind = pairwise.distance(*_cells(term=0, line=0)[:3])
    assert blind.value == pytest.approx(0, abs=0.05)
    cells = _cells(term=1, line=3)
    same, different = (pairwise.distance(*cells, constraint=constraint) for constraint in ("same", "different"))
    assert same.value < different.value


def test_gain_and_order_change_nothing_and_seeds_repeat():
    features, terms, image, lines = _cells()
    first = pairwise.distance(features, terms, image, lines, constraint="same")
    again = pairwise.distance(8 * features + 3, terms, image, lines, constraint="same")
    assert again.value == pytest.approx(first.value, rel=1e-5)
    assert pairwise.distance(features, terms, image, lines, constraint="same").interval == first.interval


def test_rejects_what_cannot_be_drawn():
    features, terms, image, lines = _cells()
    with pytest.raises(ValueError, match="an image must have one term"):
        pairwise.distance(features, terms, image // 2)
    with pytest.raises(ValueError, match="an image must have one cell line"):
        pairwise.distance(features, terms, image, np.arange(84))
    with pytest.raises(ValueError, match="needs the cell line"):
        pairwise.distance(features, terms, image, constraint="same")
    with pytest.raises(pairwise.NoPair, match="a pair of images of different terms and different cell lines"):
        pairwise.distance(features, terms, image, lines * 0, constraint="different")
    with pytest.raises(pairwise.NoPair, match="a term must have two images"):
        pairwise.distance(features, np.full(84, "er"), image)
