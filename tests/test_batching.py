"""Cells of several fields make full batches, and each field gets its own features."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpax.batching import in_full_batches


class Sums:
    """Rows that say which image they are of; keeps the sizes of the batches that it saw."""

    def __init__(self):
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(len(images))
        rows = images.sum((1, 2, 3))[:, None]
        return {"one": rows, "two": np.concatenate([rows, -rows], axis=1)}


@given(counts=st.lists(st.integers(0, 9), max_size=12), batch=st.integers(1, 8))
def test_each_item_has_the_features_of_its_images_and_batches_are_full(counts, batch):
    images = np.arange(1, sum(counts) + 1, dtype=np.float32).reshape(-1, 1, 1, 1)
    parts = np.split(images, np.cumsum(counts)[:-1]) if counts else []
    encode = Sums()
    found = list(in_full_batches(encode, enumerate(parts), batch))
    assert [item for item, _ in found] == list(range(len(counts)))
    assert encode.sizes == [batch] * -(-sum(counts) // batch)
    for (_, features), own in zip(found, parts, strict=True):
        assert bool(features) == (len(own) > 0)
        if len(own):
            np.testing.assert_array_equal(features["one"][:, 0], own.ravel())
            np.testing.assert_array_equal(features["two"], np.stack([own.ravel(), -own.ravel()], axis=1))


def test_an_item_comes_out_as_soon_as_its_last_image_was_looked_at():
    begun = []

    def items():
        for item, count in enumerate((3, 1, 0, 5, 2)):
            begun.append(item)
            yield item, np.ones((count, 1, 1, 1), np.float32)

    after = {item: list(begun) for item, _ in in_full_batches(Sums(), items(), 4)}
    assert after == {0: [0, 1], 1: [0, 1], 2: [0, 1, 2], 3: [0, 1, 2, 3, 4], 4: [0, 1, 2, 3, 4]}


def test_what_encoding_raises_is_raised():
    def fails(images):
        raise ValueError("no such channel")

    with pytest.raises(ValueError, match="no such channel"):
        list(in_full_batches(fails, [(0, np.ones((1, 2, 2, 1), np.float32))], 2))
