"""Outputs of the Open Images challenge evaluator (TensorFlow Object Detection API), masks on a row of 100 pixels."""

import math

import literal_detection
import numpy as np
import pytest
from literal_detection import Picture, Thing

from hpax.metrics import counting, detection

SHAPE = (1, 100)


def thing(start, stop=None, score=1.0, label=0, *more):
    spans = [(start, start + 10 if stop is None else stop), *more]
    return Thing(label, score, frozenset(pixel for span in spans for pixel in range(*span)))


def scored(*scores_of):
    """Detections from (thing, score) pairs."""
    return [mask._replace(score=score) for mask, score in scores_of]


A, B, C, D = (thing(start) for start in (0, 20, 40, 60))
NOWHERE = [thing(80 + n, 81 + n) for n in range(18)]
EMPTY = thing(0, 0)

CASES = {
    "two perfect": ([Picture(scored((A, 0.9), (B, 0.8)), [A, B])], 1.0),
    "IoU exactly 6/10": ([Picture([thing(0, 6)], [A])], 1.0),
    "IoU exactly 3/5": ([Picture([thing(0, 3)], [thing(0, 5)])], 1.0),
    "IoU .5": ([Picture([thing(0, 5)], [A])], 0.0),
    "IoU 6/11": ([Picture([thing(4, 11)], [A])], 0.0),
    "a duplicate": ([Picture(scored((A, 0.9), (A, 0.8), (B, 0.7)), [A, B])], 0.833333),
    "false before true": ([Picture(scored((B, 0.9), (A, 0.5)), [A])], 0.5),
    "the envelope matters": ([Picture(scored((C, 0.9), (A, 0.8), (B, 0.7)), [A, B])], 0.666667),
    "T F T F T": (
        [
            Picture(
                scored((A, 0.9), (NOWHERE[0], 0.8), (B, 0.7), (NOWHERE[1], 0.6), (C, 0.5)),
                [A, B, C, D],
            )
        ],
        0.566667,
    ),
    "over images": ([Picture(scored((A, 0.3)), [A]), Picture(scored((B, 0.9), (A, 0.2)), [A])], 0.666667),
    "tie in an image, false first": ([Picture(scored((B, 0.5), (A, 0.5)), [A])], 0.5),
    "tie in an image, true first": ([Picture(scored((A, 0.5), (B, 0.5)), [A])], 1.0),
    "tie across images, true earlier": ([Picture(scored((A, 0.5)), [A]), Picture(scored((B, 0.5)), [])], 0.5),
    "tie across images, true later": ([Picture(scored((B, 0.5)), []), Picture(scored((A, 0.5)), [A])], 1.0),
    "equal duplicate": ([Picture(scored((A, 0.5), (A, 0.5)), [A])], 0.5),
    "equal duplicate and another": ([Picture(scored((A, 0.5), (A, 0.5), (B, 0.5)), [A, B])], 0.666667),
    "no fallback to the second best": ([Picture(scored((A, 0.9), (A, 0.8)), [A, thing(1, 11)])], 0.5),
    "empty prediction": ([Picture(scored((EMPTY, 0.99), (A, 0.5)), [A])], 1.0),
    "empty truth": ([Picture(scored((A, 0.5)), [A, EMPTY])], 1.0),
    "score zero": ([Picture(scored((A, 0.0)), [A])], 1.0),
    "two components": ([Picture([thing(0, 5, 0.5, 0, (50, 60))], [thing(0, 5, 1, 0, (50, 60))])], 1.0),
    "absent class, unverified": (
        [Picture(scored((A, 0.95)), [thing(0, label=1)], verified=()), Picture(scored((A, 0.5)), [A])],
        1.0,
    ),
    "absent class, verified": ([Picture(scored((A, 0.95)), [thing(0, label=1)]), Picture(scored((A, 0.5)), [A])], 0.5),
    "no truth anywhere": ([Picture(scored((A, 0.5)), [thing(0, label=1)])], math.nan),
    "never predicted": ([Picture([], [A])], 0.0),
    "only an image without truth": ([Picture(scored((A, 0.5)), [])], math.nan),
    "18 tied false ones first": (
        [Picture(scored(*((mask, 0.5) for mask in NOWHERE), (A, 0.5)), [A])],
        0.0526316,
    ),
    "18 tied false ones last": ([Picture(scored((A, 0.5), *((mask, 0.5) for mask in NOWHERE)), [A])], 1.0),
}


def tallied(pictures, shape=SHAPE):
    listed = []
    for number, picture in enumerate(pictures):
        sides = (literal_detection.listing(str(number), *shape, side) for side in (picture.detections, picture.truths))
        verified = range(counting.CLASSES) if picture.verified is None else picture.verified
        listed.append(counting.from_listings(number, *sides, verified))
    return counting.merge(listed)


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_golden(case):
    pictures, expected = CASES[case]
    assert detection.score(tallied(pictures)).ap[0, 0] == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_the_literal_definition_agrees(case):
    pictures, expected = CASES[case]
    assert literal_detection.average_precision(pictures, 0) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_masks_not_boxes():
    box = np.ones((10, 10), bool)
    corner = box.copy()
    corner[:7, 3:] = False  # an L, 3 wide
    sides = (Thing(0, 1.0, frozenset(np.flatnonzero(mask).tolist())) for mask in (corner, box))
    assert detection.score(tallied([Picture([next(sides)], [next(sides)])], (10, 10))).ap[0, 0] == 0


def test_an_image_of_no_object_at_all():
    scores = detection.score(tallied([Picture([], [])]))
    assert scores.mean("fixed") == 0
    assert math.isnan(scores.mean("present"))


@pytest.mark.parametrize(("shared", "whole"), [(1, 3), (1, 2), (6, 10), (7, 10), (3, 4), (9, 10), (33, 55)])
def test_an_iou_equal_to_the_threshold_matches(shared, whole):
    pair = Picture([thing(0, shared)], [thing(0, whole)])
    assert detection.score(tallied([pair]), iou=shared / whole).ap[0, 0] == 1
    assert detection.score(tallied([pair]), iou=np.nextafter(shared / whole, 1)).ap[0, 0] == 0


def test_of_ten_thousand_and_more_equal_ones_the_later_listed_count():
    many = [thing(80, score=0.5)] * 10_000
    first, last = ([Picture(side, [A])] for side in ([A._replace(score=0.5), *many], [*many, A._replace(score=0.5)]))
    assert detection.score(tallied(first)).ap[0, 0] == 0
    assert detection.score(tallied(last)).ap[0, 0] == pytest.approx(1e-4)


def test_of_ten_thousand_and_more_detections_the_best_count():
    many = [thing(80, score=0.5)] * 10_000
    last, first = tallied([Picture([A._replace(score=0.4), *many], [A])]), tallied([Picture([*many, A], [A])])
    assert detection.score(last).detections[0] == 10_000
    assert detection.score(last).ap[0, 0] == 0
    assert detection.score(first).ap[0, 0] == 1
