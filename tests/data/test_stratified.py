"""Stratified splits: groups stay whole, sides hold their shares, and rare classes are on both wherever that can be."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax.data import splits

SPLIT = {"train": 0.7, "validation": 0.15, "test": 0.15}


@st.composite
def examples(draw, most=40, classes=5):
    """Groups of one to three examples with few classes each, named so that order tells nothing."""
    groups, labels = [], []
    for number in range(draw(st.integers(3, most))):
        chosen = draw(st.lists(st.integers(0, classes - 1), max_size=2, unique=True))
        for _ in range(draw(st.integers(1, 3))):
            groups.append(f"P{number * 7919 % 101}")
            labels.append(np.isin(np.arange(classes), chosen))
    return groups, np.array(labels, np.uint8)


def on_sides(groups, labels, sides):
    """Class → the sides that it is on, and class → its groups."""
    where, members = {}, {}
    for group, row, side in zip(groups, labels, sides, strict=True):
        for index in np.flatnonzero(row).tolist():
            where.setdefault(index, set()).add(side)
            members.setdefault(index, set()).add(group)
    return where, members


def assert_groups_are_whole(groups, sides):
    side_of = {}
    for group, side in zip(groups, sides, strict=True):
        assert side_of.setdefault(group, side) == side


@settings(deadline=None)
@given(examples(), st.integers(2, 4), st.integers(0, 99))
def test_folds_keep_groups_whole_and_none_is_empty(case, count, seed):
    groups, labels = case
    if len(set(groups)) < count:
        with pytest.raises(ValueError, match="groups cannot be on"):
            splits.stratified_folds(groups, labels, count, seed=seed)
        return
    folds = splits.stratified_folds(groups, labels, count, seed=seed)
    assert_groups_are_whole(groups, folds)
    assert set(folds.tolist()) == set(range(count))


def can_be(groups, labels, needed):
    """Whether some way to part the groups in two has every class of two groups on both sides."""
    names = sorted(set(groups))
    of = [set(np.flatnonzero(labels[[g == name for g in groups]].any(0)).tolist()) for name in names]
    for way in itertools.product((0, 1), repeat=len(names)):
        if all({way[i] for i in range(len(names)) if index in of[i]} == {0, 1} for index in needed):
            return len(set(way)) == 2
    return False


@settings(deadline=None, max_examples=200)
@given(examples(most=9), st.integers(0, 99))
def test_a_class_of_two_groups_is_on_both_sides_wherever_it_can_be(case, seed):
    groups, labels = case
    for sides in (
        splits.stratified_folds(groups, labels, 2, seed=seed),
        splits.stratified_split(groups, labels, {"train": 0.8, "test": 0.2}, seed=seed),
    ):
        where, members = on_sides(groups, labels, sides)
        needed = [index for index, own in members.items() if len(own) >= 2]
        assert all(len(where[index]) == 2 for index in needed) or not can_be(groups, labels, needed)


@settings(deadline=None)
@given(examples(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(case, seed, random):
    groups, labels = case
    order = list(range(len(groups)))
    random.shuffle(order)
    sides = splits.stratified_split(groups, labels, SPLIT, seed=seed)
    shuffled = splits.stratified_split([groups[i] for i in order], labels[order], SPLIT, seed=seed)
    assert shuffled.tolist() == sides[order].tolist()


def atlas_like(n=2000, seed=0):
    """Proteins of one to four fields, with class frequencies over two orders of magnitude."""
    rng = np.random.default_rng(seed)
    groups, labels = [], []
    for number in range(n):
        chosen = np.minimum(rng.geometric(0.25, rng.integers(1, 3)) - 1, 18)
        for _ in range(rng.integers(1, 5)):
            groups.append(f"PROTEIN{number}")
            labels.append(np.isin(np.arange(19), chosen))
    return groups, np.array(labels, np.uint8)


def test_folds_hold_their_share_of_every_class():
    groups, labels = atlas_like()
    folds = splits.stratified_folds(groups, labels, 5, seed=1)
    sizes = np.bincount(folds)
    assert np.abs(sizes / len(folds) - 0.2).max() < 0.01
    for index in range(19):
        held = np.bincount(folds[labels[:, index] > 0], minlength=5)
        assert held.max() - held.min() <= max(4, 0.1 * held.sum())
    assert splits.stratified_folds(groups, labels, 5, seed=2).tolist() != folds.tolist()


def test_splits_hold_their_fractions_of_every_class():
    groups, labels = atlas_like(600)
    sides = splits.stratified_split(groups, labels, SPLIT, seed=1)
    where, members = on_sides(groups, labels, sides)
    for name, fraction in SPLIT.items():
        assert abs((sides == name).mean() - fraction) < 0.02
        for index, own in members.items():
            if len(own) >= 20:
                assert abs((sides[labels[:, index] > 0] == name).mean() - fraction) < 0.1
    for index, own in members.items():
        assert len(own) < 2 or ("train" in where[index] and len(where[index]) >= 2)


def test_a_rare_class_of_two_groups_is_learnt_and_tested():
    groups = [f"G{number}" for number in range(20)]
    labels = np.zeros((20, 3), np.uint8)
    labels[:2, 0] = labels[2:5, 1] = labels[5:, 2] = 1
    sides = splits.stratified_split(groups, labels, SPLIT, seed=0)
    for index in range(3):
        assert "train" in sides[labels[:, index] > 0]
        assert len(set(sides[labels[:, index] > 0].tolist())) >= 2


def test_a_split_is_written_down_and_read_back(tmp_path):
    ids, groups = ["a", "b,c", "ü"], ["P", "P", "Q"]
    splits.write_split(tmp_path / "split.csv", ids, groups, np.array([0, 0, 1]))
    assert (tmp_path / "split.csv").read_text(encoding="utf-8").splitlines()[:2] == ["id,group,split", "a,P,0"]
    assert splits.read_split(tmp_path / "split.csv") == {"a": "0", "b,c": "0", "ü": "1"}
    (tmp_path / "split.csv").write_text("id,split\na,train\na,test\n")
    with pytest.raises(ValueError, match="line 3: every id needs one split, got 'a'"):
        splits.read_split(tmp_path / "split.csv")
    (tmp_path / "split.csv").write_text("id,fold\na,1\n")
    with pytest.raises(ValueError, match="needs the columns id and split"):
        splits.read_split(tmp_path / "split.csv")


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 2 folds, got 1"):
        splits.stratified_folds(["a", "b"], np.zeros((2, 1), np.uint8), 1, seed=0)
    with pytest.raises(ValueError, match="must be positive"):
        splits.stratified_split(["a", "b"], np.zeros((2, 1), np.uint8), {"train": 1, "test": 0}, seed=0)
