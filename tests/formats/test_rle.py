"""Run lengths: pycocotools is the oracle of every text, and no text crashes the decoder."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from hpax.formats import rle

masks = st.integers(1, 40).flatmap(
    lambda height: st.integers(1, 40).flatmap(
        lambda width: st.lists(arrays.arrays(bool, (height, width)), min_size=1, max_size=4)
    )
)


def stacked(drawn):
    return np.concatenate([rle.of_mask(mask) + np.array([[i], [0], [0]], np.int32) for i, mask in enumerate(drawn)], 1)


@settings(deadline=None)
@given(masks)
def test_text_equals_pycocotools(drawn):
    texts = rle.encode(stacked(drawn), len(drawn), drawn[0].size)
    assert texts == [coco.encode(np.asfortranarray(mask, np.uint8))["counts"] for mask in drawn]


@settings(deadline=None)
@given(masks)
def test_decoding_undoes_encoding(drawn):
    runs, faults = rle.decode(rle.encode(stacked(drawn), len(drawn), drawn[0].size), drawn[0].size)
    assert not faults
    for index, mask in enumerate(drawn):
        np.testing.assert_array_equal(rle.to_mask(runs[:, runs[0] == index], *mask.shape), mask)


def test_large_smooth_masks_equal_pycocotools():
    rows, columns = np.mgrid[:700, :900]
    drawn = [np.hypot(rows - 300 * i, columns - 450) < 100 + 200 * i for i in range(3)]
    texts = rle.encode(stacked(drawn), 3, drawn[0].size)
    assert texts == [coco.encode(np.asfortranarray(mask, np.uint8))["counts"] for mask in drawn]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=12) | st.text("0123OPQo_P", max_size=12).map(str.encode), max_size=5))
def test_any_text_is_read_or_named(texts):
    runs, faults = rle.decode(texts, 20)
    assert set(runs[0]) <= set(range(len(texts))) - set(faults)
    for index in set(range(len(texts))) - set(faults):
        own = runs[1:, runs[0] == index]
        assert (own[0] < own[1]).all()
        assert own.size == 0 or (own.min() >= 0 and own.max() <= 20)
        area = (own[1] - own[0]).sum()
        assert area == coco.area({"size": [4, 5], "counts": texts[index]})


FAULTS = {
    b"": "no run lengths",
    b"522000": "sum to",
    b"5220003p": "never use",
    b"52200 03": "never use",
    b"522000P": "middle of a number",
    b"ooooooooooo0": "over 35 bits",
    b"O5": "not within",
    b"d05": "sum to 25",
}


@pytest.mark.parametrize("text", FAULTS)
def test_damage_is_named_and_leaves_the_others_whole(text):
    good = b"5220003"
    runs, faults = rle.decode([good, text, good], 20)
    assert list(faults) == [1]
    assert FAULTS[text] in faults[1]
    assert runs.tolist() == [[0, 0, 0, 2, 2, 2], [5, 9, 13] * 2, [7, 11, 15] * 2]


BAD_RUNS = {
    "outside": [[0], [18], [21]],
    "of no mask": [[1], [0], [2]],
    "empty": [[0], [3], [3]],
    "unsorted": [[0, 0], [5, 1], [6, 2]],
    "touching": [[0, 0], [1, 2], [2, 3]],
}


@pytest.mark.parametrize("runs", BAD_RUNS.values(), ids=list(BAD_RUNS))
def test_impossible_runs_are_an_error(runs):
    with pytest.raises(ValueError, match="runs must lie in 1 masks of 20 pixels"):
        rle.encode(np.array(runs, np.int32), 1, 20)
