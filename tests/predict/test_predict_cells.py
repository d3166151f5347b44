"""Crops of many fields in full batches give each field what it would have got alone."""

import numpy as np
import pytest

from hpax.predict import cells


def counted(batches):
    """A prediction that remembers the shapes of its batches: mean and spread of each crop, 17 zeros."""

    def predict(images):
        batches.append(images.shape)
        found = np.zeros((len(images), 19), np.float32)
        found[:, 0], found[:, 1] = images.mean((1, 2, 3)), images.std((1, 2, 3))
        return found

    return predict


@pytest.mark.parametrize("counts", [(3, 0, 9, 1, 4), (0, 0), (4, 4), ()])
def test_each_field_gets_its_own_cells_in_order(counts):
    rng = np.random.default_rng(0)
    fields = [rng.integers(0, 256, (count, 6, 6, 4), dtype=np.uint8) for count in counts]
    batches = []
    found = list(cells.of_crops(counted(batches), iter(fields), batch=4))
    assert [len(each) for each in found] == list(counts)
    for own, probabilities in zip(fields, found, strict=True):
        np.testing.assert_allclose(probabilities[:, 0], own.mean((1, 2, 3)) / 255, rtol=1e-5)
        np.testing.assert_allclose(probabilities[:, 1], own.std((1, 2, 3)) / 255, rtol=1e-5)
    assert batches == [(4, 6, 6, 4)] * -(-sum(counts) // 4)


def test_a_field_comes_as_soon_as_its_cells_are_known():
    taken = []

    def fields():
        for number in range(6):
            taken.append(number)
            yield np.zeros((4, 2, 2, 4), np.uint8)

    stream = cells.of_crops(counted([]), fields(), batch=4)
    next(stream)
    assert taken == [0]
