"""Do neighbouring cells lie in fields of the same classes? For fields that show several classes each.

    from hpax.metrics import field_neighbours
    result = field_neighbours.benchmark(features, labels, fields, k=11)
    print(result.interval[11].value, result.chance[11])

`hpax.metrics.neighbours` needs one class of each cell, and most real fields have several labels: the cells of these are
lost there. Here a cell is told each class by the share of its k nearest neighbours, all of other fields, whose field is
labelled so; a field by the mean over its cells; and the fields are ranked by each class: mean average precision, as
labels of fields are scored everywhere (`hpax.metrics.zero_shot`). Neighbours are found as in `hpax.metrics.neighbours`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped
from numpy.typing import ArrayLike

from hpax.metrics import classification, neighbours
from hpax.metrics.bootstrap import Interval
from hpax.metrics.classification import Labels

LEAST = 4
"""Fields that must show a class for it to count."""

_DRAWS = 200  # times that neighbours are drawn at random, for chance; fewer where cells are many
_VOTES = 100_000_000  # that are counted for it


@dataclasses.dataclass(frozen=True)
class FieldBenchmark:
    """How well neighbours tell the classes of fields; f fields, c classes that enough of them show."""

    classes: Int[np.ndarray, " c"]  # places among those given
    fields: Shaped[np.ndarray, " f"]
    cells: int
    labels: Bool[np.ndarray, "f c"]
    scores: dict[int, Float64[np.ndarray, "f c"]]  # k → how much more frequent a class is among neighbours than in all
    ap: dict[int, Float64[np.ndarray, " c"]]  # k → average precision
    interval: dict[int, Interval]  # k → its mean over classes, and the spread over resamples of fields
    chance: dict[int, float]  # k → that mean for neighbours drawn at random

    @property
    def counts(self) -> dict[str, int]:
        """What the numbers rest on."""
        return {"ranked fields": len(self.fields), "their cells": self.cells, "their classes": len(self.classes)}

    def more_than(self, other: "FieldBenchmark", k: int, *, resamples: int = 1000) -> Interval:
        """How much higher the mean average precision is than another's of the same fields, over the same resamples.

        Raises:
            ValueError: the two asked about different fields.
        """
        if not (np.array_equal(self.fields, other.fields) and np.array_equal(self.labels, other.labels)):
            raise ValueError("what is compared must be told of the same fields, it is not; match the cells")
        return classification.interval(self.labels, self.scores[k], than=other.scores[k], resamples=resamples)


def benchmark(
    features: Float[np.ndarray, "n d"],
    labels: Labels,
    fields: ArrayLike,
    *,
    k: int | Sequence[int] = neighbours.PUBLISHED_K,
    least: int = LEAST,
    standardise: bool = True,
    resamples: int = 1000,
) -> FieldBenchmark:
    """Ranks the fields by the labels of their cells' `k` nearest neighbours in other fields.

    The share of a class among neighbours is divided by its share among all cells of other fields: a field that shows a
    class has fewer such neighbours to find than one that does not, and would be ranked below it by features that know
    nothing.

    Args:
        features: one row per cell, finite.
        labels: 0 or 1 for every class, those of the cell's field.
        fields: the field of each cell.
        k: numbers of neighbours, or one number.
        least: fields that must show a class for it to count.
        standardise: give every feature mean 0 and standard deviation 1 first; constant ones become 0.
        resamples: of fields, for the intervals.

    Raises:
        ValueError: lengths differ, cells of one field differ in labels, a feature is not finite, there is one field, or
            no class is shown by `least` fields and lacking in one.
    """
    k = (k,) if isinstance(k, int) else tuple(k)
    names, first, own = np.unique(np.asarray(fields), return_index=True, return_inverse=True)
    _check(features, labels, own, first, k)
    of_fields = np.asarray(labels)[first] == 1
    shown = of_fields.sum(0)
    classes = np.flatnonzero((shown >= max(least, 1)) & (shown < len(names)))
    if not len(classes):
        raise ValueError(f"a class must be shown by {least} fields and lack in one, none is; label more fields")
    of_fields = of_fields[:, classes]
    cells = neighbours.standardised(features) if standardise else features
    nearest = neighbours.nearest(cells, own, k=max(k))
    scores = {each: _scores(nearest[:, :each], own, of_fields) for each in k}
    return FieldBenchmark(
        classes=classes,
        fields=names,
        cells=len(cells),
        labels=of_fields,
        scores=scores,
        ap={each: classification.average_precision(of_fields, scores[each]) for each in k},
        interval={each: classification.interval(of_fields, scores[each], resamples=resamples) for each in k},
        chance={each: _chance(own, of_fields, each) for each in k},
    )


def enough(labels: Labels, fields: ArrayLike, *, least: int = LEAST) -> bool:
    """Whether `benchmark` has a class to ask about: one that `least` fields show and another one does not."""
    _, first = np.unique(np.asarray(fields), return_index=True)
    shown = (np.asarray(labels)[first] == 1).sum(0)
    return bool(((shown >= max(least, 1)) & (shown < len(first))).any())


def _scores(
    nearest: Int[np.ndarray, "n k"], own: Int[np.ndarray, " n"], labels: Bool[np.ndarray, "f c"]
) -> Float64[np.ndarray, "f c"]:
    """Of each field and class, the share among its cells' neighbours over the share among the cells of other fields."""
    there = nearest >= 0
    field, count, cells = own[nearest], np.maximum(there.sum(1), 1), np.bincount(own)
    shares = np.empty(labels.shape)
    for label, shown in enumerate(labels.T):
        votes = (shown[field] & there).sum(1)
        shares[:, label] = np.bincount(own, votes / count) / cells
    others = (cells @ labels - cells[:, None] * labels) / (len(own) - cells)[:, None]
    return shares / np.maximum(others, 1 / len(own))


def _chance(own: Int[np.ndarray, " n"], labels: Bool[np.ndarray, "f c"], k: int) -> float:
    """The mean average precision of neighbours drawn at random from other fields, by many draws of one seed."""
    rng, cells = np.random.default_rng(0), np.bincount(own)
    order = np.argsort(own, kind="stable")  # the cells, field by field
    starts = np.cumsum(cells) - cells
    drawn = []
    for _ in range(int(np.clip(_VOTES // (len(own) * k), 1, _DRAWS))):
        place = rng.integers(len(own) - cells[own][:, None], size=(len(own), k))
        place += np.where(place >= starts[own][:, None], cells[own][:, None], 0)  # steps over the own field
        drawn.append(np.nanmean(classification.average_precision(labels, _scores(order[place], own, labels))))
    return float(np.mean(drawn))


def _check(
    features: np.ndarray,
    labels: np.ndarray,
    own: Int[np.ndarray, " n"],
    first: Int[np.ndarray, " f"],
    k: Sequence[int],
) -> None:
    if len(sizes := {len(features), len(labels), len(own)}) > 1:
        raise ValueError(f"features, labels and fields must be of the same cells, got lengths {sorted(sizes)}")
    if len(first) < 2:
        raise ValueError(f"neighbours must come from another field, got {len(first)} field(s); add fields")
    if not k or min(k) < 1:
        raise ValueError(f"every k must be at least 1, got {tuple(k)}; the published ones are {neighbours.PUBLISHED_K}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, some are not; leave these cells out")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1, some are not; threshold soft labels")
    if len(differing := np.flatnonzero((labels != labels[first][own]).any(1))):
        raise ValueError(f"cells of a field must share its labels, cell {differing[0]} does not; give its field's")
