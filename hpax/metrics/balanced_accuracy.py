"""Balanced accuracy, the mean of the classes' recalls, and its spread over resamples of groups.

Cells of one protein or field share their fate, so intervals draw these whole: one over cells would be too narrow.
"""

import numpy as np
from jaxtyping import Float64, Shaped
from numpy.typing import ArrayLike

from hpax.metrics import bootstrap

_AT_ONCE = 20_000_000  # groups × resamples that are in memory together


def score(truth: ArrayLike, told: ArrayLike) -> float:
    """The mean over the classes of `truth` of the share of a class's examples that are told right."""
    right, asked = _counts(np.asarray(truth), np.asarray(told), np.zeros(len(np.asarray(truth)), np.int64))
    return float((right[0] / asked[0]).mean())


def interval(
    truth: Shaped[np.ndarray, " n"],
    told: Shaped[np.ndarray, " n"],
    groups: ArrayLike | None = None,
    *,
    than: Shaped[np.ndarray, " n"] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> bootstrap.Interval:
    """`score`, and its percentiles over resamples of `groups`; classes that a resample lacks are left out of its mean.

    With `than`, other answers for the same examples, how much higher the score is than theirs; both see the same
    resamples.

    Raises:
        ValueError: there are no examples or no resamples, or lengths differ.
    """
    drawn = _resampled(truth, told, groups, resamples, seed)
    if than is None:
        return bootstrap.interval(score(truth, told), drawn, level)
    others = _resampled(truth, than, groups, resamples, seed)
    return bootstrap.interval(score(truth, told) - score(truth, than), drawn - others, level)


def _resampled(
    truth: np.ndarray, told: np.ndarray, groups: ArrayLike | None, resamples: int, seed: int
) -> Float64[np.ndarray, " {resamples}"]:
    """The score in each resample of the groups."""
    if not len(truth) or resamples < 1 or len(truth) != len(told):
        told_ = f"{len(truth)} and {len(told)} examples, {resamples} resamples"
        raise ValueError(f"an interval needs as many answers as examples, and resamples, got {told_}")
    own = np.arange(len(truth)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    right, asked = _counts(truth, told, own)
    count, generator = len(right), np.random.default_rng(seed)
    size, drawn = max(1, _AT_ONCE // count), []
    for start in range(0, resamples, size):
        times = generator.multinomial(count, np.full(count, 1 / count), min(size, resamples - start))
        hits, examples = times @ right, times @ asked
        recall = np.divide(hits, examples, out=np.full(hits.shape, np.nan), where=examples > 0)
        drawn.append(np.nanmean(recall, 1))
    return np.concatenate(drawn)


def _counts(truth: np.ndarray, told: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each group and class, how many examples were told right, and how many there are."""
    codes = np.unique(truth, return_inverse=True)[1]
    shape = int(own.max()) + 1, int(codes.max()) + 1
    place = np.ravel_multi_index((own, codes), shape)
    right = np.bincount(place, truth == told, minlength=shape[0] * shape[1]).reshape(shape)
    return right, np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
