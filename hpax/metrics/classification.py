"""How well probabilities tell the classes of fields or cells: average precision, and calibration.

    from hpax.metrics import classification
    scores = classification.score(labels, probabilities)
    print(scores.mean_ap, scores.present, scores.mean_error)

Average precision is scikit-learn's: the precision at each distinct score, weighted by the recall gained there, without
the envelope that `hpax.metrics.detection` takes. Classes without a positive have none, and do not count in means.
"""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Num

from hpax.metrics import bootstrap
from hpax.metrics.detection import mean_ap

BINS = 10

Labels = Num[np.ndarray, "n c"] | Bool[np.ndarray, "n c"]  # 0 or 1
Probabilities = Float[np.ndarray, "n c"]


class Calibration(NamedTuple):
    """The reliability curve of each of c classes, in k bins of ascending probability; NaN where a bin is empty."""

    counts: Int64[np.ndarray, "c k"]
    probability: Float64[np.ndarray, "c k"]  # mean of the predictions
    frequency: Float64[np.ndarray, "c k"]  # share of positives

    @property
    def error(self) -> Float64[np.ndarray, " c"]:
        """The expected calibration error: the mean distance of the two over all examples; NaN without examples."""
        gap = np.where(self.counts > 0, np.abs(self.frequency - self.probability), 0)
        return _quotient((self.counts * gap).sum(1), self.counts.sum(1))


@dataclasses.dataclass(frozen=True)
class Scores:
    """What `score` finds; c classes."""

    examples: int
    positives: Int64[np.ndarray, " c"]
    ap: Float64[np.ndarray, " c"]  # NaN for a class without a positive
    calibration: Calibration

    @property
    def present(self) -> int:
        """Classes with a positive: those that the means are over."""
        return int((self.positives > 0).sum())

    @property
    def mean_ap(self) -> float:
        """The mean average precision of the present classes."""
        return float(mean_ap(self.ap, "present"))

    @property
    def mean_error(self) -> float:
        """The mean calibration error of the present classes."""
        present = self.positives > 0
        return float(_quotient(self.calibration.error[present].sum(), present.sum()))


def score(labels: Labels, probabilities: Probabilities, *, bins: int = BINS) -> Scores:
    """Average precision and calibration of n examples, all of equal weight.

    Raises:
        ValueError: the two differ in shape, a label is not 0 or 1, a probability not within 0 and 1, or bins under 1.
    """
    if labels.shape != probabilities.shape or not np.isin(labels, (0, 1)).all():
        told = f"shapes {labels.shape} and {probabilities.shape}"
        raise ValueError(f"labels must be 0 or 1, as many as probabilities, got {told}; threshold soft labels")
    calibration = calibrate(labels, probabilities, bins)
    return Scores(len(labels), (labels == 1).sum(0), average_precision(labels, probabilities), calibration)


def average_precision(labels: Labels, scores: Float[np.ndarray, "n c"]) -> Float64[np.ndarray, " c"]:
    """Of each class; equal scores share a threshold, so the order of examples means nothing. NaN without a positive."""
    once = np.ones((len(labels), 1))
    columns = zip(labels.T, scores.T, strict=True)
    return np.array([_average_precision(*column, once)[0] for column in columns], np.float64)


def calibrate(labels: Labels, probabilities: Probabilities, bins: int = BINS) -> Calibration:
    """The reliability curves, with bins of as many examples each; equal probabilities share a bin.

    Raises:
        ValueError: a probability is not within 0 and 1, or there are no bins.
    """
    if not ((probabilities >= 0) & (probabilities <= 1)).all() or bins < 1:
        raise ValueError(f"calibration needs probabilities within 0 and 1 and bins of 1 or more, got {bins} bins")
    columns = (_binned(*column, bins) for column in zip(labels.T, probabilities.T, strict=True))
    count, probability, positive = np.stack(list(columns), axis=1)
    return Calibration(count.astype(np.int64), _quotient(probability, count), _quotient(positive, count))


def interval(
    labels: Labels,
    probabilities: Probabilities,
    groups: Sequence[Hashable] | None = None,
    *,
    than: Probabilities | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> bootstrap.Interval:
    """Mean average precision of the present classes, and its spread over resamples of `groups`, drawn whole.

    Groups are the field or the protein of each example, whose fate it shares; without them it stands for itself. With
    `than`, other scores of the same examples, how much higher it is than theirs; both see the same resamples.

    Raises:
        ValueError: there are no examples or no resamples, or `than` differs in shape.
    """
    if not len(labels) or resamples < 1:
        raise ValueError(f"a bootstrap needs examples and resamples, got {len(labels)} and {resamples}")
    rivals = [probabilities] if than is None else [probabilities, than]
    if rivals[-1].shape != labels.shape:
        raise ValueError(f"scores must be of every label, {labels.shape}, got {rivals[-1].shape}; match the examples")
    rows = range(len(labels)) if groups is None else groups
    numbers = {group: number for number, group in enumerate(dict.fromkeys(rows))}
    own = np.array([numbers[group] for group in rows], np.int64)
    generator, drawn = np.random.default_rng(seed), []
    for size in bootstrap.sizes(resamples):
        times = generator.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size).T[own]
        drawn.append([_resampled(labels, scores, times.astype(np.float64)) for scores in rivals])
    values = [float(mean_ap(average_precision(labels, scores), "present")) for scores in rivals]
    spread = np.concatenate(drawn, axis=1)
    if than is None:
        return bootstrap.interval(values[0], spread[0], level)
    return bootstrap.interval(values[0] - values[1], spread[0] - spread[1], level)


def _resampled(labels: Labels, scores: Probabilities, times: Float64[np.ndarray, "n b"]) -> Float64[np.ndarray, " b"]:
    """The mean average precision in each of b resamples, in which an example comes so many `times`."""
    columns = zip(labels.T, scores.T, strict=True)
    ap = np.stack([_average_precision(*column, times) for column in columns])
    return np.asarray(mean_ap(ap.T, "present"))


def _average_precision(
    positive: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    times: Float64[np.ndarray, "n b"],
) -> Float64[np.ndarray, " b"]:
    """In each of b resamples, in which an example comes so many `times`."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)[: len(order)]  # of the examples of a score
    seen = np.cumsum(times[order], axis=0)[last]
    found = np.cumsum(times[order] * positive[order, None], axis=0)[last]
    gained = np.diff(found, axis=0, prepend=0)
    return _quotient((gained * found / np.maximum(seen, 1)).sum(0), gained.sum(0))


def _binned(
    positive: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"], bins: int
) -> Float64[np.ndarray, "3 k"]:
    """For each bin its examples, their summed probabilities, and its positives."""
    inner = np.arange(1, bins) / bins
    edges = np.quantile(probabilities, inner) if len(probabilities) else inner
    place = np.searchsorted(edges, probabilities)
    return np.stack([np.bincount(place, weights, bins) for weights in (None, probabilities, positive)]).astype(float)


def _quotient(part: np.ndarray | np.generic, whole: np.ndarray | np.generic) -> np.ndarray:
    """part / whole, NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(part, whole, dtype=np.float64))
