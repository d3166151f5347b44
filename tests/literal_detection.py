"""Mask mAP as a slow, literal reading of its definition: sets of pixels, loops, no arrays."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from hpax.formats import kaggle, rle


class Thing(NamedTuple):
    """A listed object: a detection, or a truth whose score means nothing."""

    label: int
    score: float
    pixels: frozenset[int]


class Picture(NamedTuple):
    detections: Sequence[Thing]
    truths: Sequence[Thing]
    verified: Collection[int] | None = None  # None: every class


def average_precision(pictures: Sequence[Picture], label: int, iou: float = 0.6) -> float:
    """AP of one class."""
    outcomes = []
    positives = 0
    for number, picture in enumerate(pictures):
        truths = [thing for thing in picture.truths if thing.label == label and thing.pixels]
        positives += len(truths)
        if picture.verified is not None and label not in picture.verified and not truths:
            continue
        detections = [thing for thing in picture.detections if thing.label == label and thing.pixels]
        taken, hits = set(), set()
        for place in sorted(range(len(detections)), key=lambda i: (-detections[i].score, -i)):
            best, best_iou = None, -1.0
            for index, truth in enumerate(truths):
                shared = len(detections[place].pixels & truth.pixels)
                quotient = shared / len(detections[place].pixels | truth.pixels)
                if quotient > best_iou:
                    best, best_iou = index, quotient
            if best is not None and best_iou >= iou and best not in taken:
                taken.add(best)
                hits.add(place)
        for place, detection in enumerate(detections):
            outcomes.append((-detection.score, -number, place, place in hits))
    if positives == 0:
        return math.nan
    return _area([hit for *_, hit in sorted(outcomes)], positives)


def _area(hits: Sequence[bool], positives: int) -> float:
    """Area under the precision envelope."""
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precision[n:]) / positives for n in range(len(hits)) if hits[n])


def listing(id: str, height: int, width: int, things: Sequence[Thing]) -> kaggle.Listing:
    """The same objects as a row holds them; equal masks are shared."""
    masks = list(dict.fromkeys(thing.pixels for thing in things))
    runs = [rle.empty()]
    for index, pixels in enumerate(masks):
        mask = np.zeros(height * width, bool)
        mask[sorted(pixels)] = True
        runs.append(rle.of_mask(mask.reshape(height, width)) + np.array([[index], [0], [0]], np.int32))
    columns = [np.array([getattr(thing, name) for thing in things]) for name in ("label", "score")]
    mask_of = np.array([masks.index(thing.pixels) for thing in things], np.int32)
    label, score = columns[0].astype(np.int32), columns[1].astype(np.float64)
    return kaggle.Listing(id, height, width, label, score, mask_of, np.concatenate(runs, 1), len(masks))
