"""Scores between two compartments say where a cell lies, and their spread finds the proteins that move."""

import numpy as np
import pytest
from scipy.spatial import distance

from hpax import atlas
from hpax.analysis import compartments


def hot(label_sets, times):
    return np.repeat([atlas.multi_hot(each) for each in label_sets], times, 0)


def test_the_score_is_the_log_of_two_distances_and_changes_sign_with_them():
    random = np.random.default_rng(0)
    features, first, second = random.normal(size=(20, 4)), random.normal(size=4), random.normal(size=4)
    scores = compartments.log_ratio(features, first, second)
    by_hand = np.log(distance.cdist(features, [first])[:, 0] / distance.cdist(features, [second])[:, 0])
    np.testing.assert_allclose(scores, by_hand)
    np.testing.assert_allclose(compartments.log_ratio(features, second, first), -scores)
    assert compartments.log_ratio(np.stack([first, second]), first, second).tolist() == pytest.approx(
        [-708.5, 708.5], 0.01
    )


def test_means_are_those_of_images_with_one_label_alone():
    features = np.arange(12.0).reshape(6, 2)
    labels = hot([[0], [16], [0, 16]], 2)
    means = compartments.single_means(features, labels, least=2)
    np.testing.assert_array_equal(means[[0, 16]], [[1, 2], [5, 6]])
    assert np.isnan(means[14]).all()
    assert np.isnan(compartments.single_means(features, labels, least=3)).all()


def test_proteins_whose_cells_move_between_compartments_rank_first():
    random = np.random.default_rng(1)
    means = {0: np.array([5.0, 0, 0]), 16: np.array([-5.0, 0, 0])}
    rows, labels, proteins = [], [], []
    for label, mean in means.items():
        rows.append(mean + random.normal(size=(30, 3)))
        labels.append(hot([[label]], 30))
        proteins += [f"single {label}"] * 30
    for number in range(8):
        varies = number < 3
        where = random.uniform(size=20) if varies else np.full(20, 0.5)
        rows.append(means[0] * where[:, None] + means[16] * (1 - where[:, None]) + random.normal(size=(20, 3)))
        labels.append(hot([[0, 16]], 20))
        proteins += [f"{'varies' if varies else 'constant'} {number}"] * 20
    table = compartments.variable_proteins(np.concatenate(rows), np.concatenate(labels), np.array(proteins))
    assert [name.split()[0] for name in table.index] == ["varies"] * 3 + ["constant"] * 5
    assert table.iloc[0][["first", "second"]].tolist() == ["Nucleoplasm", "Cytosol"]
    assert (table["cells"] == 20).all()


def test_the_branches_of_a_tree_are_the_kinds_of_cells():
    random = np.random.default_rng(2)
    kind = random.permutation(np.repeat([0, 1, 2], 12))
    features = 10 * np.eye(3)[kind] + random.normal(size=(36, 3))
    tree = compartments.cell_tree(features, branches=3, examples=2)
    assert sorted(tree.order.tolist()) == list(range(36))
    assert all(len(set(kind[tree.branch == branch])) == 1 for branch in range(3))
    assert (np.diff(tree.branch[tree.order]) >= 0).all()
    assert [len(each) for each in tree.examples] == [2, 2, 2]
    assert all((tree.branch[each] == number).all() for number, each in enumerate(tree.examples))
    with pytest.raises(ValueError, match="3 to 2000 cells"):
        compartments.cell_tree(features[:2])
