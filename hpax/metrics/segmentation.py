"""How well predicted masks find true ones: object F1, mean matched IoU, AP over IoU thresholds.

    from hpax.metrics import segmentation
    counts = segmentation.merge(segmentation.count(predicted, true) for predicted, true in images)
    print(segmentation.score(counts).f1)

A predicted object matches the true one that it overlaps with an IoU above the threshold, which is 0.5 or more: masks of
one image are disjoint, so no object has two matches and nothing needs to be assigned. AP is that of the Data Science
Bowl 2018, TP / (TP + FP + FN); no scores are ranked.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer, UInt

from hpax.ops import overlap

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
"""0.5, 0.55, …, 0.95."""


class Counts(NamedTuple):
    """What scoring needs of some images: sums, which merge by addition. k thresholds."""

    images: int
    predicted: int  # objects
    true: int
    hits: Int64[np.ndarray, " k"]  # pairs with an IoU above each of THRESHOLDS
    iou: Float64[np.ndarray, " k"]  # summed over these pairs
    image_ap: Float64[np.ndarray, " k"]  # summed over images


@dataclasses.dataclass(frozen=True)
class Scores:
    """What `score` finds. Without suffix: over all objects of all images at an IoU above 0.5; NaN for 0 of 0."""

    images: int
    predicted: int  # objects
    true: int
    precision: float
    recall: float
    f1: float
    matched_iou: float  # mean over matched pairs
    ap: Float64[np.ndarray, " k"]  # at each of THRESHOLDS, over all objects
    image_ap: Float64[np.ndarray, " k"]  # the same, each image by itself, then the mean over images (as in the contest)

    @property
    def mean_ap(self) -> float:
        """`ap`, mean over the thresholds."""
        return float(self.ap.mean())

    @property
    def mean_image_ap(self) -> float:
        """`image_ap`, mean over the thresholds: the score of the Data Science Bowl 2018."""
        return float(self.image_ap.mean())


def count(predicted: Integer[np.ndarray, "h w"], true: Integer[np.ndarray, "h w"]) -> Counts:
    """The counts of one image's index masks; numbers mean nothing but 0, the background.

    An image that is and should be empty has an AP of 1.

    Raises:
        ValueError: the images differ in shape.
    """
    rows, columns, shared, in_predicted, in_true = overlap.pairs_of_labels(predicted, true)
    areas = (np.bincount(side, shared, len(values)) for side, values in ((rows, in_predicted), (columns, in_true)))
    of_predicted, of_true = areas
    objects = (in_predicted[rows] != 0) & (in_true[columns] != 0)
    iou = (shared / (of_predicted[rows] + of_true[columns] - shared))[objects]
    found, wanted = int((in_predicted != 0).sum()), int((in_true != 0).sum())
    hit = iou > np.array(THRESHOLDS)[:, None]
    hits = hit.sum(1)
    ap = _quotient(hits, found + wanted - hits) if found + wanted else np.ones(len(THRESHOLDS))
    return Counts(1, found, wanted, hits, (hit * iou).sum(1), ap)


def merge(counts: Iterable[Counts]) -> Counts:
    """The counts of all images together."""
    zero = np.zeros(len(THRESHOLDS))
    none = Counts(0, 0, 0, zero.astype(np.int64), zero, zero)
    return Counts(*(sum(column[1:], column[0]) for column in zip(none, *counts, strict=True)))


def score(counts: Counts) -> Scores:
    """The scores of the images behind `counts`."""
    hits, found, wanted = counts.hits, counts.predicted, counts.true
    return Scores(
        images=counts.images,
        predicted=found,
        true=wanted,
        precision=float(_quotient(hits[0], found)),
        recall=float(_quotient(hits[0], wanted)),
        f1=float(_quotient(2 * hits[0], found + wanted)),
        matched_iou=float(_quotient(counts.iou[0], hits[0])),
        ap=_quotient(hits, found + wanted - hits),
        image_ap=_quotient(counts.image_ap, counts.images),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class KnownField:
    """A field whose objects are known."""

    id: str
    image: UInt[np.ndarray, "h w 4"]
    mask: Integer[np.ndarray, "h w"]
    um_per_pixel: float


Method = Callable[[UInt[np.ndarray, "h w 4"], float], Integer[np.ndarray, "h w"]]
"""Image and µm per pixel → the index mask of the objects found."""


def score_method(method: Method, fields: Iterable[KnownField]) -> Scores:
    """How well a method finds the objects of all fields together."""
    return score(merge(count(method(field.image, field.um_per_pixel), field.mask) for field in fields))


def _quotient(part: np.ndarray | np.generic, whole: np.ndarray | np.generic | int) -> Float64[np.ndarray, "*k"]:
    """part / whole in float64, NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(part, whole, dtype=np.float64))
