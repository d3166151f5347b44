"""What the probabilities of fields are worth that no network learnt from, beside their labels.

    from hpax.metrics import zero_shot
    report = zero_shot.score(labels, probabilities, ids=ids)
    print(report.mean_ap, report.interval.low, report.interval.high, report.mistakes[:3])

Few fields make few positives, so every number comes with its chance, and means are over classes that enough fields show
(`least`); see `hpax.metrics.classification` for what average precision is.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from hpax import atlas
from hpax.metrics import bootstrap, classification
from hpax.metrics.classification import Labels, Probabilities

AMONG = 3
"""So many of a field's most probable classes count as what is said of it."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A class that a field does not show, and how sure the network was of it."""

    field: str
    label: int
    probability: float
    shown: tuple[int, ...]  # what it does show


@dataclasses.dataclass(frozen=True)
class Report:
    """What `score` finds; c classes."""

    scores: classification.Scores
    chosen: Bool[np.ndarray, " c"]  # classes that enough fields show
    interval: bootstrap.Interval  # of `mean_ap`, over resamples of fields
    error: float  # expected calibration error, all chosen classes together
    confusion: Int64[np.ndarray, "c c"]  # of fields that show the row, how many have the column as top class, if wrong
    first: Int64[np.ndarray, " c"]  # of fields that show a class, how many have it as top class
    among: Int64[np.ndarray, " c"]  # of fields that show a class, how many have it among their AMONG most probable
    mistakes: tuple[Mistake, ...]  # the surest first

    @property
    def chance(self) -> Float64[np.ndarray, " c"]:
        """The average precision of a random order, about: the share of fields that show a class."""
        return self.scores.positives / max(self.scores.examples, 1)

    @property
    def mean_ap(self) -> float:
        """The mean average precision of the chosen classes; NaN without any."""
        return self.interval.value

    @property
    def mean_chance(self) -> float:
        """The chance of `mean_ap`."""
        return float(self.chance[self.chosen].mean()) if self.chosen.any() else float("nan")

    def taken_for(self, label: int) -> tuple[int, int]:
        """The class that fields of `label` are most often taken for wrongly, and how many; (-1, 0) if none is."""
        most = int(self.confusion[label].argmax())
        count = int(self.confusion[label, most])
        return (most, count) if count else (-1, 0)


def score(
    labels: Labels,
    probabilities: Probabilities,
    *,
    ids: Sequence[str],
    groups: Sequence[Hashable] | None = None,
    least: int = 4,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """How well the probabilities of n fields tell the classes that `least` of them or more show.

    `groups` are drawn whole where fields share their fate, such as those of one protein.

    Raises:
        ValueError: no field, another number of ids than fields, or see `classification.score`.
    """
    if not len(labels) or len(ids) != len(labels):
        raise ValueError(f"there must be a field, and an id for each, got {len(labels)} fields and {len(ids)} ids")
    scores = classification.score(labels, probabilities)
    chosen = scores.positives >= max(least, 1)
    return Report(
        scores=scores,
        chosen=chosen,
        interval=_interval(labels[:, chosen], probabilities[:, chosen], groups, resamples, seed),
        error=_calibration_error(labels[:, chosen], probabilities[:, chosen]),
        confusion=confusion(labels, probabilities),
        first=ranked(labels, probabilities, 1),
        among=ranked(labels, probabilities, AMONG),
        mistakes=mistakes(labels, probabilities, ids),
    )


def confusion(labels: Labels, probabilities: Probabilities) -> Int64[np.ndarray, "c c"]:
    """Row: a class that a field shows; column: its most probable class, counted where the field does not show it."""
    labels = np.asarray(labels, np.int64)
    found = np.zeros((labels.shape[1],) * 2, np.int64)
    for row, best in zip(labels, probabilities.argmax(1), strict=True):
        if not row[best]:
            found[:, best] += row
    return found


def ranked(labels: Labels, probabilities: Probabilities, most: int) -> Int64[np.ndarray, " c"]:
    """Of the fields that show a class, how many have it among their `most` most probable ones."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]
    likely = np.zeros(labels.shape, bool)
    np.put_along_axis(likely, order, True, axis=1)
    return ((labels > 0) & likely).sum(0, dtype=np.int64)


def mistakes(labels: Labels, probabilities: Probabilities, ids: Sequence[str]) -> tuple[Mistake, ...]:
    """Every class that a field does not show, by falling probability; one of each field, its surest."""
    wrong = np.where(labels, -1.0, probabilities)
    found = []
    for id, row, alone in zip(ids, labels, wrong, strict=True):
        label = int(alone.argmax())
        if alone[label] >= 0:
            found.append(Mistake(id, label, float(alone[label]), tuple(np.flatnonzero(row).tolist())))
    return tuple(sorted(found, key=lambda mistake: -mistake.probability))


def named(reports: Mapping[str, Report]) -> dict[str, float]:
    """The numbers of every head, and of every class by the first one."""
    found: dict[str, float] = {}
    for head, report in reports.items():
        found[f"field mAP, {head}"] = report.mean_ap
        found[f"field mAP, {head}, low"] = report.interval.low
        found[f"field mAP, {head}, high"] = report.interval.high
        found[f"field mAP of all classes, {head}"] = report.scores.mean_ap
        found[f"calibration error, {head}"] = report.error
    first = next(iter(reports.values()))
    found["chance"] = first.mean_chance
    for label, name in enumerate(atlas.LOCATIONS):
        if first.scores.positives[label]:
            found[f"AP, {name}"] = float(first.scores.ap[label])
    return found


def columns(reports: Mapping[str, Report]) -> list[str]:
    """Of `class_rows`."""
    aps = (f"AP, {head}" for head in reports)
    return ["class", "fields", "chance", *aps, "first", f"among {AMONG}", "taken for"]


def class_rows(reports: Mapping[str, Report]) -> list[list[str | float | None]]:
    """Class, fields, chance, average precision by every head; and by the first head of how many fields it is the most
    probable class, is among the `AMONG` most probable, and what its fields are taken for.
    """
    first = next(iter(reports.values()))
    rows: list[list[str | float | None]] = []
    for label in np.argsort(-first.scores.positives, kind="stable").tolist():
        wrong, count = first.taken_for(label)
        taken = f"{atlas.LOCATIONS[wrong]} ({count})" if count else "–"
        own = [float(report.scores.ap[label]) for report in reports.values()]
        rows.append([atlas.LOCATIONS[label], int(first.scores.positives[label]), float(first.chance[label])])
        rows[-1] += [*own, int(first.first[label]), int(first.among[label]), taken]
    return rows


def _interval(
    labels: Labels, probabilities: Probabilities, groups: Sequence[Hashable] | None, resamples: int, seed: int
) -> bootstrap.Interval:
    if not labels.shape[1]:
        nan = float("nan")
        return bootstrap.Interval(nan, nan, nan, nan, 0.95)
    return classification.interval(labels, probabilities, groups, resamples=resamples, seed=seed)


def _calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    found = classification.calibrate(labels.reshape(-1, 1), probabilities.reshape(-1, 1))
    return float(found.error[0])
