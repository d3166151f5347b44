import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hpax.data import pairs

GROUPS = np.array([7, 3, 7, 3, 3, 7, 7, 9, 9, 7])


PROTEINS = np.array([1, 0, 1, 0, 0, 1, 1, 1, 1, 1])  # images 7 and 9 are of one protein


def draw(pair, epochs, groups=GROUPS, seed=0, proteins=None):
    drawn = functools.partial(pairs.targets, groups, pair, seed=seed, proteins=proteins)
    return np.stack([drawn(epoch=epoch) for epoch in range(epochs)])


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(2, 6), min_size=2, max_size=8), seed=st.integers(0, 99), epoch=st.integers(0, 99))
def test_a_sibling_is_another_cell_of_the_same_image_and_a_random_one_of_another(sizes, seed, epoch):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    sibling = pairs.targets(groups, "sibling", seed=seed, epoch=epoch)
    assert (groups[sibling] == groups).all()
    assert (sibling != np.arange(len(groups))).all()
    assert (groups[pairs.targets(groups, "random", seed=seed, epoch=epoch)] != groups).all()


@settings(deadline=None, max_examples=50)
@given(images=st.lists(st.integers(2, 4), min_size=1, max_size=5), seed=st.integers(0, 99), epoch=st.integers(0, 99))
def test_a_cell_of_the_same_protein_is_of_another_image(images, seed, epoch):
    rng = np.random.default_rng(seed)
    protein_of = np.repeat(rng.permutation(len(images)), images)  # of each image
    groups = rng.permutation(np.repeat(np.arange(len(protein_of)), rng.integers(1, 5, len(protein_of))))
    proteins = protein_of[groups]
    target = pairs.targets(groups, "protein", proteins=proteins, seed=seed, epoch=epoch)
    assert (proteins[target] == proteins).all()
    assert (groups[target] != groups).all()


def test_targets_of_the_same_protein_are_uniform_over_its_other_images():
    several = np.array([0, 0, 1, 2, 1, 2, 3, 4, 3, 2])
    proteins = np.array([5, 5, 2, 5, 2, 5, 2, 2, 2, 5])
    drawn = draw("protein", epochs=4000, groups=several, proteins=proteins)
    for cell in range(len(several)):
        allowed = np.flatnonzero((proteins == proteins[cell]) & (several != several[cell]))
        counts = np.bincount(drawn[:, cell], minlength=10)
        assert counts.sum() == counts[allowed].sum()
        assert stats.chisquare(counts[allowed]).pvalue > 1e-4


@pytest.mark.parametrize("pair", ["sibling", "random"])
def test_targets_are_uniform_over_those_allowed(pair):
    drawn = draw(pair, epochs=4000)
    for cell in range(len(GROUPS)):
        same = GROUPS[cell] == GROUPS
        allowed = np.flatnonzero(same & (np.arange(10) != cell) if pair == "sibling" else ~same)
        counts = np.bincount(drawn[:, cell], minlength=10)
        assert counts.sum() == counts[allowed].sum()
        if len(allowed) > 1:
            assert stats.chisquare(counts[allowed]).pvalue > 1e-4


def test_targets_of_two_cells_are_independent():
    drawn = draw("sibling", epochs=4000, groups=np.zeros(3, int))
    table = np.zeros((3, 3))
    np.add.at(table, (drawn[:, 0], drawn[:, 1]), 1)
    assert stats.chi2_contingency(table[1:][:, [0, 2]]).pvalue > 1e-4


def test_each_cell_is_a_source_once_per_epoch_in_an_order_of_its_own():
    orders = [pairs.order(100, seed=1, epoch=epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert not (orders[0] == orders[1]).all()


def test_flips_are_fair_and_independent():
    flips = np.concatenate([pairs.flips(500, seed=0, epoch=epoch) for epoch in range(4)]).reshape(-1, 4)
    patterns = np.bincount(flips @ [1, 2, 4, 8], minlength=16)
    assert stats.chisquare(patterns).pvalue > 1e-4


@pytest.mark.parametrize("draw", [pairs.order, pairs.flips])
def test_a_draw_is_a_function_of_seed_and_epoch(draw):
    same, again = draw(50, seed=3, epoch=5), draw(50, seed=3, epoch=5)
    assert (same == again).all()
    assert not (same == draw(50, seed=4, epoch=5)).all()
    assert not (same == draw(50, seed=3, epoch=6)).all()


def test_self_is_the_cell_itself():
    assert draw("self", 1).tolist() == [list(range(10))]


@pytest.mark.usefixtures("untyped")
def test_what_cannot_be_paired_is_said():
    with pytest.raises(ValueError, match="but 2 of 3 images have 1; build the data set with min_cells=2"):
        pairs.targets(np.array([0, 1, 1, 2]), "sibling", seed=0, epoch=0)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        pairs.targets(np.zeros(4, int), "random", seed=0, epoch=0)
    with pytest.raises(ValueError, match="needs the protein of each cell"):
        pairs.targets(GROUPS, "protein", seed=0, epoch=0)
    with pytest.raises(ValueError, match="1 of 2 proteins were imaged once; leave these out"):
        pairs.targets(GROUPS, "protein", proteins=PROTEINS, seed=0, epoch=0)
    with pytest.raises(ValueError, match="one of sibling, protein, self, random, got 'twin'"):
        pairs.targets(GROUPS, "twin", seed=0, epoch=0)


def test_orders_targets_and_flips_are_drawn_from_streams_of_their_own():
    streams = (pairs._ORDER, pairs._TARGET, pairs._FLIP)
    assert len({int(pairs._generator(0, 0, stream).integers(2**62)) for stream in streams}) == 3
