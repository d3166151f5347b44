"""Shared pixels: from runs, from index images and from pycocotools alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from hpax.formats import label_images, rle
from hpax.ops import overlap

SHAPE = (6, 7)
stacks = st.lists(arrays.arrays(bool, SHAPE), min_size=1, max_size=4)
images = arrays.arrays(np.uint8, SHAPE, elements=st.integers(0, 4))


def runs_of(masks):
    return np.concatenate([rle.of_mask(mask) + np.array([[i], [0], [0]], np.int32) for i, mask in enumerate(masks)], 1)


def expected(a, b):
    return np.array([[(x & y).sum() for y in b] for x in a])


@settings(deadline=None)
@given(stacks, stacks)
def test_overlapping_masks_equal_pixel_counts_and_pycocotools(a, b):
    runs = runs_of(a), runs_of(b)
    shared = overlap.of_runs(*runs, (len(a), len(b)))
    np.testing.assert_array_equal(shared, expected(a, b))
    ious = overlap.iou(shared, overlap.areas(runs[0], len(a)), overlap.areas(runs[1], len(b)))
    encoded = ([coco.encode(np.asfortranarray(mask, np.uint8)) for mask in masks] for masks in (a, b))
    np.testing.assert_array_equal(ious, np.nan_to_num(coco.iou(*encoded, [False] * len(b))))


@settings(deadline=None)
@given(images, stacks, st.booleans())
def test_either_side_may_be_the_disjoint_one(image, masks, swap):
    indices = np.unique(image[image > 0])
    cells = [image == index for index in indices]
    sides = ((label_images.runs(image)[0], cells), (runs_of(masks), masks))
    (a, of_a), (b, of_b) = sides[::-1] if swap else sides
    shared = overlap.of_runs(a, b, (len(of_a), len(of_b)))
    np.testing.assert_array_equal(shared, expected(of_a, of_b).reshape(shared.shape))


@settings(deadline=None)
@given(images, images)
def test_index_images_equal_pixel_counts(a, b):
    shared, in_a, in_b = overlap.of_labels(a, b)
    assert (in_a.tolist(), in_b.tolist()) == (np.unique(a).tolist(), np.unique(b).tolist())
    np.testing.assert_array_equal(shared, expected([a == i for i in in_a], [b == i for i in in_b]))


@pytest.mark.parametrize("together", [1, 3, 2**22])
def test_runs_taken_in_parts_give_the_same(monkeypatch, together):
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 4, (2, 30, 30))
    a[:, 5:9] = 1  # a run that meets many
    monkeypatch.setattr(overlap, "_PAIRS", together)
    (runs_a, in_a), (runs_b, in_b) = label_images.runs(a), label_images.runs(b)
    shared = overlap.of_runs(runs_a, runs_b, (len(in_a), len(in_b)))
    np.testing.assert_array_equal(shared, expected([a == i for i in in_a], [b == i for i in in_b]))


def test_the_quotient_meets_its_literal():
    for shared, union in ((6, 10), (3, 5), (1234 * 3, 1234 * 5), (600_000_003 // 3 * 3, 600_000_003 // 3 * 5)):
        quotient = overlap.iou(np.array([[shared]]), np.array([union]), np.array([shared]))[0, 0]
        assert quotient == 0.6


@pytest.mark.usefixtures("untyped")
def test_images_of_two_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3\) and \(3, 2\)"):
        overlap.of_labels(np.zeros((2, 3), int), np.zeros((3, 2), int))
