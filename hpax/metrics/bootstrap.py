"""Intervals of AP, and the difference of two submissions, by drawing images with replacement. NumPy and SciPy only.

A resample gives every image a weight, the times it was drawn, and changes neither the ranking nor the matches. Between
two true positives only the count of false ones matters, so a class is a sparse matrix (true positives × images) of
counts, and all resamples are one product with their weights. An image drawn twice keeps its copies together, which is
exact where scores are distinct.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, Integer

from hpax.metrics.counting import Counts
from hpax.metrics.detection import Average, Scores, mean_ap

if TYPE_CHECKING:
    import scipy.sparse  # is slow to import, so who needs it does

_TOGETHER = 250
"""How many resamples are computed at once; bounds memory."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A statistic over all images, and its spread over resamples of them; NaN where it is undefined."""

    value: float
    sd: float
    low: float
    high: float
    level: float  # of confidence, as 0.95

    def named(self, name: str) -> dict[str, float]:
        """As metrics: the value by `name`, and by "name, low (95%)" and "name, high (95%)" its ends."""
        level = f"({self.level:.0%})"
        return {name: self.value, f"{name}, low {level}": self.low, f"{name}, high {level}": self.high}


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Of the mAP in both averages, and of each class.

    A resample may miss every image of a rare class, which the fixed average then counts as 0: on few images its
    interval lies low, that of the present classes does not.
    """

    map_fixed: Interval
    map_present: Interval
    ap: tuple[Interval, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """mAP of the first submission minus that of the second on the same resamples."""

    difference: Interval
    p: float  # two-sided: twice the share of resamples on the other side of 0, at least 1 / (resamples + 1)


def intervals(
    counts: Counts, scores: Scores, *, resamples: int = 1000, seed: int = 0, level: float = 0.95, threshold: int = 0
) -> Intervals:
    """Percentile intervals of `scores` over resamples of the images of its counts."""
    ap = resample(counts, scores, resamples=resamples, seed=seed, threshold=threshold)
    fixed = interval(scores.mean("fixed", threshold), np.asarray(mean_ap(ap, "fixed")), level)
    present = interval(scores.mean("present", threshold), np.asarray(mean_ap(ap, "present")), level)
    classes = (interval(*pair, level) for pair in zip(scores.ap[threshold], ap.T, strict=True))
    return Intervals(fixed, present, tuple(classes))


def compare(
    first: tuple[Counts, Scores],
    second: tuple[Counts, Scores],
    *,
    average: Average = "fixed",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Whether one submission beats another on images like these, paired: both see the same resamples.

    Raises:
        ValueError: the two were scored on different images.
    """
    if not np.array_equal(first[0].images, second[0].images):
        raise ValueError("a paired comparison needs two submissions scored on the same images; select those in both")
    drawn = [resample(*side, resamples=resamples, seed=seed) for side in (first, second)]
    difference = np.asarray(mean_ap(drawn[0], average)) - np.asarray(mean_ap(drawn[1], average))
    value = first[1].mean(average) - second[1].mean(average)
    tail = min((difference <= 0).sum(), (difference >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Comparison(interval(value, difference, level), float(p))


def resample(
    counts: Counts, scores: Scores, *, resamples: int, seed: int, threshold: int = 0
) -> Float64[np.ndarray, "b c"]:
    """AP of every class in each of b resamples of the images; NaN where a resample has no truth of the class."""
    images = len(counts.images)
    if not images or resamples < 1:
        raise ValueError(f"a bootstrap needs images and resamples, got {images} and {resamples}")
    generator = np.random.default_rng(seed)
    parts = []
    for size in sizes(resamples):
        weights = generator.multinomial(images, np.full(images, 1 / images), size).T.astype(np.float64)
        positives = counts.truths.T @ weights
        area = np.stack([_area(counts, hits, weights) for counts, hits in _classes(scores, images, threshold)])
        parts.append(np.divide(area, positives, out=np.full_like(area, np.nan), where=positives > 0))
    return np.concatenate(parts, 1).T


def sizes(resamples: int) -> Iterator[int]:
    """Resamples in parts that fit the memory."""
    for start in range(0, resamples, _TOGETHER):
        yield min(_TOGETHER, resamples - start)


def _classes(
    scores: Scores, images: int, threshold: int
) -> Iterator[tuple["scipy.sparse.csr_array", Integer[np.ndarray, " h"]]]:
    """For every class: detections of each image from one true positive to the next, and the images of these."""
    import scipy.sparse

    for image, hit in zip(scores.ranking.image, scores.hit[threshold], strict=True):
        hits = np.flatnonzero(hit)
        upto = hits[-1] + 1 if len(hits) else 0
        gap = np.cumsum(hit[:upto]) - hit[:upto]
        ones = np.ones(upto)
        yield scipy.sparse.csr_array((ones, (gap, image[:upto])), shape=(len(hits), images)), image[hits]


def _area(
    counts: "scipy.sparse.csr_array", hits: Integer[np.ndarray, " h"], weights: Float[np.ndarray, "n b"]
) -> Float64[np.ndarray, " b"]:
    """Weighted true positives times the precision envelope at each, summed."""
    gained = weights[hits]
    seen = np.cumsum(counts @ weights, 0)
    precision = np.cumsum(gained, 0) / np.maximum(seen, 1)
    return (gained * np.maximum.accumulate(precision[::-1], 0)[::-1]).sum(0)


def interval(value: float, drawn: Float64[np.ndarray, " b"], level: float = 0.95) -> Interval:
    """The percentiles of what resamples gave, NaN left out, around the value of all."""
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Interval(float(value), np.nan, np.nan, np.nan, level)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(drawn.std()), float(low), float(high), level)
