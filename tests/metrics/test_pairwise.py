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


def test_images_of_one_protein_are_no_pair():
    """A protein has its own spot, and two images, one in each line; terms mean nothing."""
    rng = np.random.default_rng(0)
    protein = np.repeat(np.arange(24), 10)
    image = np.repeat(np.arange(48), 5)
    terms, lines = np.array(["er", "golgi", "nucleus"])[protein % 3], image % 2
    features = rng.normal(size=(24, 6))[protein] + 0.1 * rng.normal(size=(240, 6))
    between = pairwise.image_distances((features - features.mean(0)) / features.std(0), image)
    own, term, line = protein[::5], terms[::5], lines[::5]
    apart = own[:, None] != own
    means = [
        [between[(term[:, None] == a) & (term == b) & apart].mean() for b in np.unique(term)] for a in np.unique(term)
    ]
    others = (np.sum(means, 1) - np.diag(means)) / 2
    across = apart & (line[:, None] != line)
    alike = term[:, None] == term
    expected = {
        "none": np.mean(np.diag(means) / others - 1),
        "different": between[across & alike].mean() / between[across & ~alike].mean() - 1,
    }
    for constraint, value in expected.items():
        spoilt = pairwise.distance(features, terms, image, lines, constraint=constraint, pairs=40_000)
        found = pairwise.distance(features, terms, image, lines, groups=protein, constraint=constraint, pairs=40_000)
        assert found.value == pytest.approx(value, abs=0.01)
        assert spoilt.value < found.value - 0.04
        assert found.interval.high - found.interval.low > spoilt.interval.high - spoilt.interval.low
        assert spoilt.pairs - found.pairs == 24  # the two images of each protein
    # images that share a field, or fields that share an image, are one group
    joined = pairwise.distance(features, terms, image, lines, groups=np.where(image == 1, 0, np.arange(240)))
    assert joined.pairs == pairwise.distance(features, terms, image).pairs - 1
    with pytest.raises(pairwise.NoPair):
        pairwise.distance(features, terms, image, groups=protein % 3)


def test_images_of_one_group_are_drawn_together():
    weights = pairwise._weights(np.array([0, 1, 1, 2]), 50, 0)
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()


def test_all_constraints_at_once_are_each_by_itself():
    features, terms, image, lines = _cells()
    found = pairwise.distances(features, terms, image, lines, groups=image // 2)
    assert list(found) == ["none", "same", "different"]
    for constraint, result in found.items():
        assert result == pairwise.distance(features, terms, image, lines, groups=image // 2, constraint=constraint)
    assert list(pairwise.distances(features, terms, image)) == ["none"]
    assert list(pairwise.distances(features, terms, image, 0 * lines)) == ["none", "same"]
