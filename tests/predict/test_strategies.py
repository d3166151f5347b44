"""Ways to combine what networks say: what each is by hand, for fields of any number of cells."""

import numpy as np
import pytest

from hpax.predict import combine
from hpax.predict.strategies import Opinions, pooled, strategies, variants

RNG = np.random.default_rng(0)


def opinions(count):
    return Opinions(RNG.random(19), RNG.random((count, 19)), RNG.random((count, 19)))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_strategy_has_a_row_for_each_cell(count):
    own, labels = opinions(count), RNG.integers(0, 2, 19)
    found = strategies(own, labels)
    for prob in found.values():
        assert prob.shape == (count, 19)
        assert ((prob >= 0) & (prob <= 1)).all()
    np.testing.assert_array_equal(found["labels × cell"], labels * own.cells)
    np.testing.assert_array_equal(found["ensemble"], combine.fuse(own.field, [own.maps, own.cells]))
    np.testing.assert_array_equal(found["field copied"], np.tile(own.field, (count, 1)))
    np.testing.assert_array_equal(pooled(own.cells, own.field), own.cells.mean(0) if count else own.field)


def test_variants_are_of_each_field_whatever_the_number_of_its_cells():
    fields, labels = [opinions(count) for count in (3, 0, 1, 7)], RNG.integers(0, 2, (4, 19))
    cells = [RNG.random(own.cells.shape) for own in fields]
    for _ in range(20):  # a type checker looks at one field of a list, which differs from call to call
        found = variants("student", cells, fields, labels)
    assert list(found) == ["student", "ensemble, student", "labels × student"]
    for place, (own, prob) in enumerate(zip(fields, cells, strict=True)):
        np.testing.assert_array_equal(found["student"][place], prob)
        np.testing.assert_array_equal(found["labels × student"][place], labels[place] * prob)
        np.testing.assert_array_equal(found["ensemble, student"][place], combine.fuse(own.field, [own.maps, prob]))
