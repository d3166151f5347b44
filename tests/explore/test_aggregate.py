"""Squares hold every cell, and what they say of their cells is what one finds by counting."""

from collections import Counter

import numpy as np
import pytest

from hpax.explore import aggregate


@pytest.fixture
def places(monkeypatch):
    monkeypatch.setattr(aggregate, "SIDE", 8)
    return np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)


def test_every_cell_is_in_the_square_around_it(places):
    found = aggregate.squares(places)
    low, high = np.array(found.low), np.array(found.high)
    corner = low + (high - low) / 8 * np.stack([found.of % 8, found.of // 8], axis=1)
    assert (places >= corner - 1e-6).all()
    assert (places <= corner + (high - low) / 8 + 1e-6).all()
    np.testing.assert_array_equal([low, high], [places.min(0), places.max(0)])


def test_a_square_is_as_dense_as_it_has_cells_and_empty_without(places):
    of = aggregate.squares(places).of
    counts, found = np.bincount(of, minlength=64), aggregate.densities(of)
    np.testing.assert_array_equal(found == 0, counts == 0)
    assert set(found[counts == 1]) == {1}
    assert set(found[counts == counts.max()]) == {255}
    assert (np.diff(found[np.argsort(counts)].astype(int)) >= 0).all()
    assert set(aggregate.densities(np.arange(64))) == {1}


def test_the_commonest_code_is_that_of_counting_and_the_lowest_of_equals(places):
    of, codes = aggregate.squares(places).of, np.random.default_rng(1).integers(0, 5, 300)
    found = aggregate.commonest(of, codes)
    for square in range(64):
        own = Counter(codes[of == square].tolist())
        assert found[square] == min(own, key=lambda code: (-own[code], code), default=0)


def test_means_are_of_what_is_known(places):
    of, values = aggregate.squares(places).of, np.random.default_rng(2).normal(size=300)
    values[:150] = np.nan
    found = aggregate.means(of, values)
    for square in range(64):
        own = values[150:][of[150:] == square]
        np.testing.assert_allclose(found[square], own.mean() if len(own) else np.nan)


def test_cells_in_one_place_have_a_square_and_cells_without_a_place_do_not(places):
    assert aggregate.squares(np.ones((3, 2))).of.tolist() == [0, 0, 0]
    for wrong in (places[:0], places * np.nan):
        with pytest.raises(ValueError, match="finite places"):
            aggregate.squares(wrong)
