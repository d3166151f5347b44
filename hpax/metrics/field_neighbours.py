"""Do neighbouring cells lie in fields of the same classes? For fields that show several classes each.

    from hpax.metrics import field_neighbours
    result = field_neighbours.benchmark(features, labels, fields, k=11)
    print(result.interval[11].value, result.chance[11])

`hpax.metrics.neighbours` needs one class of each cell, and most real fields have several labels: the cells of these are
lost there. Here a cell is told each class by the share of its k nearest neighbours, all of other fields (of other
proteins, where these are known), whose field is labelled so; a field by the mean over its cells; and the fields are
ranked by each class: mean average precision, as labels of fields are scored everywhere (`hpax.metrics.zero_shot`).
Neighbours are found as in `hpax.metrics.neighbours`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
    groups: Int[np.ndarray, " f"]  # fields that were left out together, as intervals draw them
    cells: int
    labels: Bool[np.ndarray, "f c"]
    scores: dict[int, Float64[np.ndarray, "f c"]]  # k → how much more frequent a class is among neighbours than in all
    ap: dict[int, Float64[np.ndarray, " c"]]  # k → average precision
    interval: dict[int, Interval]  # k → its mean over classes, and the spread over resamples of groups
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
        mine, others = self.scores[k], other.scores[k]
        return classification.interval(self.labels, mine, self.groups.tolist(), than=others, resamples=resamples)


def benchmark(
    features: Float[np.ndarray, "n d"],
    labels: Labels,
    fields: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    k: int | Sequence[int] = neighbours.PUBLISHED_K,
    least: int = LEAST,
    standardise: bool = True,
    resamples: int = 1000,
    chance: Mapping[int, float] | None = None,
) -> FieldBenchmark:
    """Ranks the fields by the labels of their cells' `k` nearest neighbours in other fields.

    The share of a class among neighbours is divided by its share among all cells of other groups: a field that shows a
    class has fewer such neighbours to find than one that does not, and would be ranked below it by features that know
    nothing.

    Args:
        features: one row per cell, finite.
        labels: 0 or 1 for every class, those of the cell's field.
        fields: the field of each cell.
        groups: what is left out with a cell besides its field, such as the protein; None: the field alone.
        k: numbers of neighbours, or one number.
        least: fields that must show a class for it to count, in two groups at least.
        standardise: give every feature mean 0 and standard deviation 1 first; constant ones become 0.
        resamples: of groups, for the intervals.
        chance: that of other features of the same cells, fields and k, which is the same; None: it is drawn.

    Raises:
        ValueError: lengths differ, cells of one field differ in labels or group, a feature is not finite, there is one
            group, or no class is shown by `least` fields of two groups and lacking in one.
    """
    k = (k,) if isinstance(k, int) else tuple(k)
    cells = _cells(labels, fields, groups)
    _check(features, cells, k)
    classes = cells.classes(least)
    if not len(classes):
        raise ValueError(f"a class must be shown by {least} fields of two groups and lack in one, none is; label more")
    shown = cells.of_fields[:, classes]
    nearest = neighbours.nearest(
        neighbours.standardised(features) if standardise else features, cells.group[cells.field], k=max(k)
    )
    scores = {each: _scores(nearest[:, :each], cells, shown) for each in k}
    groups_of = cells.group.tolist()
    return FieldBenchmark(
        classes=classes,
        fields=cells.names,
        groups=cells.group,
        cells=len(features),
        labels=shown,
        scores=scores,
        ap={each: classification.average_precision(shown, scores[each]) for each in k},
        interval={each: classification.interval(shown, scores[each], groups_of, resamples=resamples) for each in k},
        chance={each: _chance(cells, shown, each) for each in k} if chance is None else dict(chance),
    )


def enough(labels: Labels, fields: ArrayLike, groups: ArrayLike | None = None, *, least: int = LEAST) -> bool:
    """Whether `benchmark` has a class to ask about: one that `least` fields of two groups show and another does not."""
    return len(_cells(labels, fields, groups).classes(least)) > 0


class _Cells(NamedTuple):
    """Which cells lie in which field, and fields in which group; n cells, f fields."""

    labels: np.ndarray  # (n, c), as given
    names: np.ndarray  # (f,)
    field: np.ndarray  # (n,), its number
    group: np.ndarray  # (f,), its number
    group_of_cells: np.ndarray  # (n,), as given
    of_fields: np.ndarray  # (f, c), bool

    def classes(self, least: int) -> Int[np.ndarray, " c"]:
        """Those that enough fields show, in two groups, and not all fields."""
        shown = self.of_fields.sum(0)
        groups = np.array([len(np.unique(self.group[column])) for column in self.of_fields.T])
        return np.flatnonzero((shown >= max(least, 1)) & (groups > 1) & (shown < len(self.names)))


def _cells(labels: Labels, fields: ArrayLike, groups: ArrayLike | None) -> _Cells:
    names, first, field = np.unique(np.asarray(fields), return_index=True, return_inverse=True)
    of_cells = field if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(sizes := {len(labels), len(field), len(of_cells)}) > 1:
        raise ValueError(f"labels, fields and groups must be of the same cells, got lengths {sorted(sizes)}")
    return _Cells(np.asarray(labels), names, field, of_cells[first], of_cells, np.asarray(labels)[first] == 1)


def _scores(
    nearest: Int[np.ndarray, "n k"], cells: _Cells, labels: Bool[np.ndarray, "f c"]
) -> Float64[np.ndarray, "f c"]:
    """Of each field and class, the share among its cells' neighbours over the share among the cells of other groups."""
    there = nearest >= 0
    field, count, size = cells.field[nearest], np.maximum(there.sum(1), 1), np.bincount(cells.field)
    shares = np.empty(labels.shape)
    for label, shown in enumerate(labels.T):
        votes = (shown[field] & there).sum(1)
        own = np.bincount(cells.group, size * shown)[cells.group]
        others = ((size * shown).sum() - own) / (size.sum() - np.bincount(cells.group, size)[cells.group])
        shares[:, label] = np.bincount(cells.field, votes / count) / size / np.maximum(others, 1 / size.sum())
    return shares


def _chance(cells: _Cells, labels: Bool[np.ndarray, "f c"], k: int) -> float:
    """The mean average precision of neighbours drawn at random from other groups, by many draws of one seed."""
    rng, own = np.random.default_rng(0), cells.group[cells.field]
    order, size = np.argsort(own, kind="stable"), np.bincount(own)  # the cells, group by group
    starts = np.cumsum(size) - size
    drawn = []
    for _ in range(int(np.clip(_VOTES // (len(own) * k), 1, _DRAWS))):
        place = rng.integers(len(own) - size[own][:, None], size=(len(own), k))
        place += np.where(place >= starts[own][:, None], size[own][:, None], 0)  # steps over the own group
        ap = classification.average_precision(labels, _scores(order[place], cells, labels))
        drawn.append(np.nanmean(ap))
    return float(np.mean(drawn))


def _check(features: np.ndarray, cells: _Cells, k: Sequence[int]) -> None:
    if len(features) != len(cells.field):
        told = f"{len(features)} and {len(cells.field)}"
        raise ValueError(f"features and labels must be of the same cells, got {told}; match them")
    if len(np.unique(cells.group)) < 2:
        raise ValueError(f"neighbours must come from another group, got one of {len(cells.names)} field(s); add fields")
    if not k or min(k) < 1:
        raise ValueError(f"every k must be at least 1, got {tuple(k)}; the published ones are {neighbours.PUBLISHED_K}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, some are not; leave these cells out")
    if not np.isin(cells.labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1, some are not; threshold soft labels")
    differing = (cells.labels != cells.of_fields[cells.field]).any(1)
    differing |= cells.group_of_cells != cells.group[cells.field]
    if differing.any():
        place = int(differing.argmax())
        raise ValueError(f"cells of a field must share its labels and group, cell {place} does not; give its field's")
