"""Fields and masks: indices, masks that belong together, what a field refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpax.fields import Field, Masks, from_example, matched

IMAGE = np.zeros((6, 8, 4), np.uint8)


def test_indices_are_those_of_the_cells_in_order():
    cells = np.zeros((6, 8), np.uint16)
    cells[0, 0], cells[5, 5] = 7, 2
    masks = Masks(cells, np.zeros_like(cells))
    assert masks.indices.tolist() == [2, 7]
    assert len(masks) == 2
    assert len(Masks(np.zeros_like(cells), np.zeros_like(cells))) == 0


@given(st.integers(0, 2**32 - 1))
def test_nuclei_take_the_index_of_the_cell_that_covers_most_of_them(seed):
    rng = np.random.default_rng(seed)
    cells = np.kron(rng.permutation(6).reshape(2, 3), np.ones((4, 4))).astype(np.int64)
    nuclei = np.kron(rng.integers(0, 9, (4, 6)), np.ones((2, 2))).astype(np.int64)
    masks, bare = matched(cells, nuclei)
    np.testing.assert_array_equal(masks.cells, cells)
    for nucleus in np.unique(nuclei[nuclei > 0]):
        inside = cells[nuclei == nucleus]
        counts = np.bincount(inside[inside > 0], minlength=1)
        if not counts.any():
            assert nucleus in bare
            continue
        owner = int(counts.argmax())  # the lower index on a tie
        own = (nuclei == nucleus) & (cells == owner)
        assert (masks.nuclei[own] == owner).all()
        assert not masks.nuclei[(nuclei == nucleus) & ~own].any()
    assert set(np.unique(masks.nuclei)) <= set(np.unique(cells))


def test_masks_that_cannot_belong_together_are_refused(untyped):
    with pytest.raises(ValueError, match="one shape"):
        matched(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match="must not be negative"):
        matched(np.full((2, 2), -1), np.zeros((2, 2), int))


def test_a_field_refuses_what_does_not_fit(untyped):
    with pytest.raises(ValueError, match=r"um_per_pixel must be positive, field a has 0.0"):
        Field("a", IMAGE, 0.0)
    with pytest.raises(ValueError, match="must be"):
        Field("a", IMAGE[..., 0], 0.3)
    small = np.zeros((3, 3), np.uint16)
    with pytest.raises(ValueError, match="one shape"):
        Field("a", IMAGE, 0.3, masks=Masks(small, small))
    with pytest.raises(ValueError, match="no masks yet"):
        _ = Field("a", IMAGE, 0.3).found


def test_an_example_without_a_class_is_not_labelled():
    example = {"id": "a", "image": IMAGE, "um_per_pixel": np.float32(0.5), "labels": np.zeros(19, np.uint8)}
    assert from_example(example).labels is None
    example["labels"] = np.eye(19, dtype=np.uint8)[3]
    field = from_example({**example, "protein": "P1", "cell_line": ""})
    assert field.labels is not None
    assert field.origin == {"protein": "P1"}
    assert field.truth is None
