"""The nearest-neighbour benchmark agrees with scikit-learn and cannot be fooled by what it leaves out."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from hpax.metrics import neighbours
from hpax.metrics.neighbours import benchmark, nearest, vote


def _cells(n=120, c=6, classes=4, groups=10, seed=0):
    """Features that tell a group well and a class somewhat; a group has one class."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.arange(n) % groups)
    label = group % classes
    centres = rng.normal(size=(classes, c))[label] + 0.7 * rng.normal(size=(groups, c))[group]
    features = (centres + rng.normal(size=(n, c))) * np.arange(1, c + 1) + 100
    return features.astype(np.float32), np.array(["nucleus", "cytosol", "golgi", "er"])[label], group


def _oracle(features, labels, groups, k):
    """scikit-learn, trained anew for every group on the cells of the others."""
    features = StandardScaler().fit_transform(features.astype(np.float64))
    told = np.empty_like(labels)
    for group in np.unique(groups):
        own = groups == group
        model = KNeighborsClassifier(k, algorithm="brute").fit(features[~own], labels[~own])
        told[own] = model.predict(features[own])
    return balanced_accuracy_score(labels, told)


def test_equals_scikit_learn_without_the_groups():
    features, labels, groups = _cells()
    result = benchmark(features, labels, groups, k=(1, 4, 11, 100))
    for k, accuracy in result.balanced_accuracy.items():
        assert accuracy == pytest.approx(_oracle(features, labels, groups, k), abs=1e-9)
    assert result.groups == 10


def test_equals_scikit_learn_without_the_cell_itself():
    features, labels, _ = _cells(48)
    result = benchmark(features, labels, None, k=(1, 6))
    for k, accuracy in result.balanced_accuracy.items():
        assert accuracy == pytest.approx(_oracle(features, labels, np.arange(48), k), abs=1e-9)
    assert result.groups == 48


def test_asks_only_for_the_cells_asked_while_all_of_their_classes_vote():
    features, labels, groups = _cells()
    asked = np.isin(groups, [1, 4, 6, 7])
    result = benchmark(features, labels, groups, k=(5,), query=asked)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    told = np.empty_like(labels)
    for group in (1, 4, 6, 7):
        own = groups == group
        told[own] = KNeighborsClassifier(5, algorithm="brute").fit(scaled[~own], labels[~own]).predict(scaled[own])
    assert result.balanced_accuracy[5] == pytest.approx(balanced_accuracy_score(labels[asked], told[asked]), abs=1e-9)
    assert result.classes == tuple(np.unique(labels[asked]))
    assert sum(result.counts) == asked.sum()
    assert result.groups == 4
    with pytest.raises(ValueError, match="at least one cell"):
        benchmark(features, labels, groups, query=np.zeros(len(labels), bool))


def test_finds_the_neighbours_of_a_full_sort():
    """The cells of a group are each other's nearest, and more than the search has candidates to spare."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 10, 300)
    features = (rng.normal(size=(10, 5))[groups] + 0.3 * rng.normal(size=(300, 5))).astype(np.float32)
    distance = np.linalg.norm(features[:, None].astype(np.float64) - features, axis=-1)
    distance[groups[:, None] == groups] = np.inf
    for block in (7, 100, 512):
        np.testing.assert_array_equal(nearest(features, groups, k=9, block=block), distance.argsort(1)[:, :9])


def test_tells_close_rivals_far_from_the_origin():
    """Squares of 100s leave little room in float32 for differences of hundredths; the true distances do."""
    features = 1000 + np.random.default_rng(0).normal(0, 0.05, (64, 3)).astype(np.float32)
    features[:2] += 300
    distance = np.linalg.norm(features[:, None].astype(np.float64) - features, axis=-1) + np.diag(np.full(64, np.inf))
    np.testing.assert_array_equal(nearest(features, np.arange(64), k=5), distance.argsort(1)[:, :5])


def test_of_equally_near_cells_the_first_counts():
    features = np.zeros((40, 2), np.float32)
    found = nearest(features, np.arange(40), k=3)
    np.testing.assert_array_equal(found[[0, 1, 2, 30]], [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def test_of_equal_votes_the_lowest_class_wins_and_absentees_do_not_vote():
    codes = np.array([2, 0, 1, 1, 2])
    found = np.array([[0, 1, 2, 4], [0, 2, 3, 4], [0, 4, 2, -1], [2, -1, -1, -1], [2, 1, -1, -1]])
    np.testing.assert_array_equal(vote(found, codes), [2, 1, 2, 1, 0])


def test_counting_votes_in_parts_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    codes, found = rng.integers(0, 5, 50), rng.integers(-1, 50, (50, 7))
    whole = vote(found, codes)
    monkeypatch.setattr(neighbours, "_VOTES", 35)
    np.testing.assert_array_equal(vote(found, codes), whole)


def test_leaving_groups_out_exposes_features_that_know_the_group_alone():
    """Each protein has its own spot in feature space: siblings find each other, strangers do not."""
    rng = np.random.default_rng(0)
    protein = np.arange(400) % 40
    features = rng.normal(size=(40, 8))[protein] + 0.01 * rng.normal(size=(400, 8))
    labels = protein % 4
    assert benchmark(features, labels, None, k=(5,)).balanced_accuracy[5] == 1
    assert benchmark(features, labels, protein, k=(5,)).balanced_accuracy[5] < 0.5


def test_order_and_gain_of_cells_and_features_change_nothing():
    features, labels, groups = _cells()
    expected = benchmark(features, labels, groups).balanced_accuracy
    rng = np.random.default_rng(1)
    cells, columns = rng.permutation(len(labels)), rng.permutation(features.shape[1])
    shuffled = features[np.ix_(cells, columns)] * 2 ** rng.integers(0, 5, features.shape[1]) + 3
    assert benchmark(shuffled, labels[cells], groups[cells]).balanced_accuracy == pytest.approx(expected)


def test_a_constant_feature_weighs_nothing():
    features, labels, groups = _cells()
    constant = np.full((len(labels), 1), 0.1, np.float32)
    expected = benchmark(features, labels, groups).balanced_accuracy
    assert benchmark(np.hstack([features, constant]), labels, groups).balanced_accuracy == expected


def test_reports_what_the_numbers_rest_on():
    features = np.arange(8, dtype=np.float32)[:, None]
    labels = ["a", "a", "a", "b", "b", "b", "rare", "rare"]
    groups = [0, 0, 1, 0, 2, 2, 3, 3]
    result = benchmark(features, labels, groups, k=(1, 6))
    assert (result.classes, result.counts) == (("a", "b", "rare"), (3, 3, 2))
    assert (result.single_group_classes, result.groups, result.n_incomplete) == (("rare",), 4, 3)
    assert result.recall[1][2] == 0
    dropped = benchmark(features, labels, groups, k=(1, 6), drop_single_group_classes=True)
    assert (dropped.classes, dropped.counts, dropped.groups, dropped.single_group_classes) == (
        ("a", "b"),
        (3, 3),
        3,
        ("rare",),
    )
    assert dropped.recall[1].tolist() == benchmark(features[:6], labels[:6], groups[:6], k=(1,)).recall[1].tolist()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": ["a"] * 3}, "same cells, got lengths \\[3, 4\\]"),
        ({"groups": [1] * 4}, "one group of 4 cells"),
        ({"k": (0, 1)}, "at least 1"),
        ({"features": np.array([[0.0], [1], [np.nan], [3]])}, "first row 2"),
    ],
)
def test_rejects(change, says):
    valid = {"features": np.arange(4.0)[:, None], "labels": list("abab"), "groups": [0, 1, 2, 3], "k": (1,)}
    with pytest.raises(ValueError, match=says):
        benchmark(**valid | change)


def test_one_number_of_neighbours_is_a_list_of_one():
    features, labels, groups = _cells()
    one, listed = (benchmark(features, labels, groups, k=k) for k in (11, [11]))
    assert (one.balanced_accuracy, one.chance) == (listed.balanced_accuracy, listed.chance)


@pytest.mark.parametrize("k", [1, 11])
def test_chance_is_what_features_that_know_nothing_reach(k):
    """Two classes, two of three groups each: a cell's own class loses a group, and with it the majority."""
    rng = np.random.default_rng(0)
    groups = np.arange(1200) % 4
    labels, query = np.array(["a", "a", "b", "b"])[groups], np.ones(1200, bool)
    blind = [benchmark(rng.normal(size=(1200, 40)), labels, groups, k=k, query=query) for _ in range(5)]
    found = np.mean([each.balanced_accuracy[k] for each in blind])
    assert blind[0].chance[k] == pytest.approx({1: 1 / 3, 11: 0.122}[k], abs=0.02)
    assert found == pytest.approx(blind[0].chance[k], abs=0.04)


def test_cells_of_classes_that_nobody_asks_about_change_nothing():
    """Sixteen fields, two scored classes, six that occur once: these neither vote nor lower chance."""
    rng = np.random.default_rng(0)
    groups = np.arange(400) % 16
    labels = np.array([*"aabb", *"aabb", *"cdefghij"])[groups]
    features = rng.normal(size=(400, 5)) + np.where(labels == "c", 0, 1)[:, None]
    scored = np.isin(labels, ["a", "b"])
    whole = benchmark(features, labels, groups, drop_single_group_classes=True)
    alone = benchmark(features[scored], labels[scored], groups[scored])
    assert (whole.classes, whole.n_voters) == (("a", "b"), 200)
    assert whole.single_group_classes == tuple("cdefghij")
    assert (whole.balanced_accuracy, whole.chance) == (alone.balanced_accuracy, alone.chance)
    asked = benchmark(features, labels, groups, query=scored)
    assert (asked.balanced_accuracy, asked.chance) == (alone.balanced_accuracy, alone.chance)
    with pytest.raises(ValueError, match="none does; give cells of more groups"):
        benchmark(features[groups > 7], labels[groups > 7], groups[groups > 7], drop_single_group_classes=True)


def test_intervals_hold_the_value_and_widen_when_whole_proteins_are_drawn():
    rng = np.random.default_rng(0)
    protein = np.arange(800) % 16
    features = rng.normal(size=(16, 6))[protein] + 0.3 * rng.normal(size=(800, 6))
    labels = protein % 2
    cells = benchmark(features, labels, None, k=5).interval[5]
    proteins = benchmark(features + rng.normal(size=(800, 6)), labels, protein, k=5)
    spread = proteins.interval[5]
    assert spread.value == pytest.approx(proteins.balanced_accuracy[5])
    assert spread.low <= spread.value <= spread.high
    assert spread.high - spread.low > 3 * (cells.high - cells.low)
    clustered = benchmark(features + rng.normal(size=(800, 6)), labels, None, k=5, clusters=protein).interval[5]
    assert clustered.high - clustered.low > 0


def test_many_classes_are_counted_in_bounded_memory():
    codes = np.arange(3000)
    found = np.stack([np.roll(codes, shift) for shift in range(3)], 1)
    assert neighbours._VOTES < 3 * 3000**2
    np.testing.assert_array_equal(vote(found, codes), found.min(1))


def test_cells_asked_about_as_they_are_spoilt_while_voters_stay():
    """The oracle learns from clean cells of other groups and is asked about the spoilt ones."""
    features, labels, groups = _cells()
    query = np.isin(groups, [1, 4, 6, 7])
    spoilt = features[query] * 0.7 + 3
    result = benchmark(features, labels, groups, k=5, query=query, asked=spoilt)
    scaler = StandardScaler().fit(features.astype(np.float64))
    told = np.empty_like(labels[query])
    for group in (1, 4, 6, 7):
        model = KNeighborsClassifier(5, algorithm="brute")
        model.fit(scaler.transform(features[groups != group]), labels[groups != group])
        told[groups[query] == group] = model.predict(scaler.transform(spoilt[groups[query] == group]))
    assert result.balanced_accuracy[5] == pytest.approx(balanced_accuracy_score(labels[query], told), abs=1e-9)
    plain, same = (benchmark(features, labels, groups, k=5, query=query, asked=x) for x in (None, features[query]))
    assert plain.interval == same.interval
    with pytest.raises(ValueError, match="a row for each cell of query"):
        benchmark(features, labels, groups, query=query, asked=spoilt[1:])


def test_of_the_cells_asked_about_those_of_dropped_classes_are_not_shown():
    features, labels, groups = _cells()
    labels = np.where(groups == 0, "rare", labels)
    result = benchmark(features, labels, groups, k=5, asked=features, drop_single_group_classes=True)
    expected = benchmark(features, labels, groups, k=5, drop_single_group_classes=True)
    assert result.interval == expected.interval


@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_differ_in_all_that_is_left_out_and_chance_follows(k):
    features, labels, groups = _cells(240)
    line = np.random.default_rng(3).integers(0, 3, 240)
    result = benchmark(features, labels, groups, k=k, also=line)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    told, drawn, rng = np.empty_like(labels), np.zeros((40, 240)), np.random.default_rng(0)
    for cell in range(240):
        others = np.flatnonzero((groups != groups[cell]) & (line != line[cell]))
        model = KNeighborsClassifier(k, algorithm="brute").fit(scaled[others], labels[others])
        told[cell] = model.predict(scaled[[cell]])[0]
        for draw in range(40):
            names, counts = np.unique(labels[rng.choice(others, k, replace=False)], return_counts=True)
            drawn[draw, cell] = names[counts.argmax()] == labels[cell]
    assert result.balanced_accuracy[k] == pytest.approx(balanced_accuracy_score(labels, told), abs=1e-9)
    by_chance = np.mean([drawn[:, labels == name].mean() for name in np.unique(labels)])
    assert result.chance[k] == pytest.approx(by_chance, abs=0.02)
    assert result.groups == 10


def test_classes_of_one_line_are_left_out_where_lines_are():
    features, labels, groups = _cells()
    line = np.where(labels == "er", 0, np.arange(120) // 10 % 2)
    result = benchmark(features, labels, groups, k=1, also=line, drop_single_group_classes=True)
    assert result.single_group_classes == ("er",)
    with pytest.raises(ValueError, match="one group of 120"):
        benchmark(features, labels, groups, also=np.zeros(120))
