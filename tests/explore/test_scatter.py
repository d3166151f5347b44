"""An embedding is reproducible and keeps neighbours; a scatter shows every label."""

import numpy as np
import pytest
from matplotlib import colors
from sklearn.neighbors import KNeighborsClassifier

from hpax.explore import scatter


def clusters(count, each=30, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat([f"class {index:02}" for index in range(count)], each)
    centres = 8 * random.normal(size=(count, 10)).repeat(each, 0)
    return (centres + random.normal(size=centres.shape)).astype(np.float32), labels


def test_an_embedding_is_a_function_of_its_seed_and_keeps_neighbours_together():
    features, labels = clusters(4)
    points = scatter.embed(features, seed=0)
    np.testing.assert_array_equal(scatter.embed(features, seed=0), points)
    assert not np.array_equal(scatter.embed(features, seed=1), points)
    assert KNeighborsClassifier(5).fit(points, labels).score(points, labels) > 0.95
    assert np.isfinite(scatter.embed(features[:5], seed=0)).all()


@pytest.mark.parametrize("features", [np.zeros((4, 3)), np.full((9, 3), np.nan)])
def test_what_cannot_be_embedded_is_refused(features):
    with pytest.raises(ValueError, match="5 or more points of finite features"):
        scatter.embed(features, seed=0)


def ink(picture, name):
    """How many pixels have a colour; letters leave some in every grey."""
    return int((picture == rgb(name)).all(-1).sum())


def rgb(name):
    return tuple(int(255 * part + 0.5) for part in colors.to_rgb(name))


def test_each_label_has_ink_of_its_colour():
    points, labels = clusters(3)
    picture = scatter.scatter(points[:, :2], labels)
    assert [ink(picture, shade) > 100 for shade in scatter.COLOURS[:6]] == [True] * 3 + [False] * 3


def test_labels_beyond_the_most_frequent_are_grey():
    points, labels = clusters(3)
    points, labels = points[20:, :2], labels[20:]  # ten of the first class, thirty of each other
    two, three = (scatter.scatter(points, labels, most=most) for most in (2, 3))
    assert ink(two, "0.75") > 5 * ink(three, "0.75")
    assert [ink(two, shade) > 100 for shade in scatter.COLOURS[:3]] == [True, True, False]
    assert [ink(three, shade) > 100 for shade in scatter.COLOURS[:3]] == [True, True, True]


def test_a_scatter_of_the_same_points_has_the_same_pixels():
    points, labels = clusters(25, each=2)
    first, again = (scatter.scatter(points[:, :2], labels, title="µ") for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_points_without_labels_are_refused():
    with pytest.raises(ValueError, match="got 3 points and 2 labels"):
        scatter.scatter(np.zeros((3, 2)), ["a", "b"])
