"""Every benchmark of features of cells, with intervals: neighbours, classifiers, pairwise distances.

known = Known.of(table.obs, protocol="protein")
score = nearest("classic", features, known, k=11)
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from hpax import files
from hpax.metrics import classifiers, field_neighbours, neighbours, pairwise
from hpax.metrics.bootstrap import Interval
from hpax.metrics.classification import Labels

KNN, FIELDS, PAIRWISE = "kNN k {}", "field mAP k {}", "pairwise distance"
CLASSIFIERS: dict[classifiers.Kind, str] = {"logistic": "logistic regression", "forest": "random forest"}
LINES: dict[pairwise.Constraint, str] = {"same": ", same cell line", "different": ", different cell lines"}


def check_names(titles: Sequence[str], k: int) -> None:
    """A ValueError if features called so, or how far some are ahead of others, cannot be columns of results."""
    for title in titles:
        files.column(title)
    for best, other in itertools.permutations(titles, 2):
        files.column(f"{best} minus {other}, {FIELDS.format(k)}, high (95%)")


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """What is known of cells, beside any features; all of the same cells in one order."""

    labels: Shaped[np.ndarray, " n"]  # str, the class of each cell
    groups: Shaped[np.ndarray, " n"]  # what benchmarks leave out together
    query: Bool[np.ndarray, " n"]  # the cells asked about
    images: Shaped[np.ndarray, " n"]  # what pairwise distances take as an image
    lines: Shaped[np.ndarray, " n"] | None  # cell lines, where known of all

    @classmethod
    def of(cls, obs: pd.DataFrame, *, protocol: str, label: str = "label") -> "Known":
        """From a table of cells, each with a class: columns as `hpax.features.tables` has them; `query` may lack.

        Raises:
            ValueError: a column is missing, or a cell has no class or no group.
        """
        if lacking := [name for name in (protocol, label) if name not in obs]:
            raise ValueError(f"the table must have the columns {protocol} and {label}, it lacks {', '.join(lacking)}")
        labels, groups = text(obs, label), text(obs, protocol)
        for what, values in (("class", labels), (protocol, groups)):
            if missing := int((values == "").sum()):
                raise ValueError(f"every cell needs a {what}, {missing} have none; leave these out")
        lines = text(obs, "cell_line") if "cell_line" in obs else None
        if lines is not None and (lines == "").any():
            lines = None
        if "group_id" in obs:
            images = text(obs, "group_id")
        else:
            images = groups if lines is None else np.array([f"{a} {b}" for a, b in zip(groups, lines, strict=True)])
        return cls(
            labels=labels,
            groups=groups,
            query=obs["query"].to_numpy(bool) if "query" in obs else np.ones(len(obs), bool),
            images=images,
            lines=lines,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class FieldLabels:
    """The classes of the fields that cells lie in, several of each; of all cells, with one class or not."""

    labels: Labels
    fields: Shaped[np.ndarray, " n"]  # str
    groups: Shaped[np.ndarray, " n"]  # str: their proteins, where known of all; else the fields

    @classmethod
    def of(cls, obs: pd.DataFrame, labels: Labels | None) -> "FieldLabels | None":
        """From a table of cells and their labels; None where these are not those of fields, or one class each."""
        if labels is None or "field" not in obs or len(labels) != len(obs):
            return None
        fields = text(obs, "field")
        _, first, own = np.unique(fields, return_index=True, return_inverse=True)
        several = (labels.sum(1) > 1).any()
        of_fields = np.array_equal(labels, labels[first][own])
        if not (several and of_fields and (fields != "").all()):
            return None
        proteins = text(obs, "protein") if "protein" in obs else fields
        shared = np.array_equal(proteins, proteins[first][own]) and (proteins != "").all()
        return cls(labels, fields, proteins if shared else fields)


def text(obs: pd.DataFrame, column: str) -> Shaped[np.ndarray, " n"]:
    """A column as text; "" where nothing is known."""
    values = obs[column].astype(object)
    return values.where(values.notna(), "").astype(str).to_numpy(str)


@dataclasses.dataclass(frozen=True)
class Score:
    """One number of one set of features."""

    features: str
    benchmark: str
    interval: Interval
    chance: float  # what features that know nothing reach; NaN: not known
    cells: int
    groups: int
    classes: int


def scores(
    sets: Mapping[str, Float[np.ndarray, "n d"]],
    known: Known,
    nearest: Mapping[str, neighbours.Benchmark],
    *,
    kinds: Sequence[classifiers.Kind] = ("logistic", "forest"),
    trees: int = 500,
    seed: int = 0,
) -> list[Score]:
    """Every benchmark of every set of features, of whose neighbours `nearest` tells (`neighbours_of`)."""
    found: list[Score] = []
    for name, features in sets.items():
        found += by_neighbours(name, nearest[name])
        found += learnt(name, features, known, kinds=kinds, trees=trees, seed=seed)
        found += far(name, features, known, seed=seed)
    return found


def nearest(
    name: str,
    features: Float[np.ndarray, "n d"],
    known: Known,
    *,
    k: int | Sequence[int],
    asked: Float[np.ndarray, "q d"] | None = None,
    also: Shaped[np.ndarray, " n"] | None = None,
) -> list[Score]:
    """Neighbours in other groups, for every k; `asked` and `also` as `hpax.metrics.neighbours` has them."""
    return by_neighbours(name, neighbours_of(features, known, k=k, asked=asked, also=also))


def neighbours_of(
    features: Float[np.ndarray, "n d"],
    known: Known,
    *,
    k: int | Sequence[int],
    asked: Float[np.ndarray, "q d"] | None = None,
    also: Shaped[np.ndarray, " n"] | None = None,
) -> neighbours.Benchmark:
    """The benchmark of neighbours in other groups; classes of one group are left out."""
    return neighbours.benchmark(
        features,
        known.labels,
        known.groups,
        k=k,
        query=known.query,
        asked=asked,
        also=also,
        drop_single_group_classes=True,
    )


def by_neighbours(name: str, result: neighbours.Benchmark) -> list[Score]:
    """A score for every k."""
    basis = {"cells": sum(result.counts), "groups": result.groups, "classes": len(result.classes)}
    return [
        Score(name, KNN.format(each), result.interval[each], chance=result.chance[each], **basis)
        for each in result.interval
    ]


def fields_of(
    sets: Mapping[str, Float[np.ndarray, "n _"]], known: FieldLabels | None, *, k: int | Sequence[int]
) -> dict[str, field_neighbours.FieldBenchmark]:
    """Of every set of features, the benchmark of neighbours in fields of other groups, by all cells.

    Empty where no labels of fields are known, or too few fields show a class.
    """
    found: dict[str, field_neighbours.FieldBenchmark] = {}
    if known is None or not field_neighbours.enough(known.labels, known.fields, known.groups):
        return found
    chance = None
    for name, features in sets.items():
        result = field_neighbours.benchmark(features, known.labels, known.fields, known.groups, k=k, chance=chance)
        found[name], chance = result, result.chance
    return found


def by_fields(name: str, result: field_neighbours.FieldBenchmark) -> list[Score]:
    """A score for every k."""
    basis = {"cells": result.cells, "groups": len(result.fields), "classes": len(result.classes)}
    return [
        Score(name, FIELDS.format(each), result.interval[each], chance=result.chance[each], **basis)
        for each in result.interval
    ]


Result = TypeVar("Result", neighbours.Benchmark, field_neighbours.FieldBenchmark)


def scored(results: Mapping[str, Result], score: Callable[[str, Result], list[Score]]) -> list[Score]:
    """The scores of all sets, by `by_neighbours` or `by_fields`."""
    found = []
    for name, result in results.items():
        found += score(name, result)
    return found


def lead(results: Mapping[str, Result], k: int, score: Callable[[str, Result], list[Score]]) -> list[Score]:
    """How much more the neighbours of the set that tells most tell than those of each other set, paired.

    `score` makes scores of a result: `by_neighbours` or `by_fields`.
    """
    found: list[Score] = []
    if not results:
        return found
    first = max(results, key=lambda name: results[name].interval[k].value)
    for name, result in results.items():
        if name == first:
            continue
        own = score(name, result)[list(result.interval).index(k)]
        more = results[first].more_than(result, k)
        found.append(dataclasses.replace(own, features=f"{first} minus {name}", interval=more, chance=math.nan))
    return found


def learnt(
    name: str,
    features: Float[np.ndarray, "n d"],
    known: Known,
    *,
    kinds: Iterable[classifiers.Kind] = ("logistic", "forest"),
    trees: int = 500,
    seed: int = 0,
) -> list[Score]:
    """Classifiers over folds of groups."""
    found = []
    for kind in kinds:
        result = classifiers.benchmark(
            features, known.labels, known.groups, kind=kind, trees=trees, query=known.query, seed=seed
        )
        found.append(
            Score(
                features=name,
                benchmark=CLASSIFIERS[kind],
                interval=result.interval,
                chance=1 / len(result.classes),
                cells=sum(result.counts),
                groups=result.groups,
                classes=len(result.classes),
            )
        )
    return found


def far(name: str, features: Float[np.ndarray, "n d"], known: Known, *, seed: int = 0) -> list[Score]:
    """Pairwise distances of the cells asked about, and where cell lines are known, within and across these.

    Images of one group are no pair. Of an image whose cells differ, those of its most frequent class. A constraint that
    leaves no pair is left out.
    """
    asked = known.query & _of_main_term(known.labels, known.images)
    cells = features[asked], known.labels[asked], known.images[asked]
    lines = None if known.lines is None else known.lines[asked]
    found = []
    for constraint, result in pairwise.distances(*cells, lines, groups=known.groups[asked], seed=seed).items():
        found.append(
            Score(
                features=name,
                benchmark=PAIRWISE + LINES.get(constraint, ""),
                interval=result.interval,
                chance=0.0,
                cells=int(asked.sum()),
                groups=result.images,
                classes=result.terms,
            )
        )
    return found


def _of_main_term(labels: Shaped[np.ndarray, " n"], images: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """The cells of the most frequent class of their image; of equally frequent ones the first in order."""
    kept = np.zeros(len(labels), bool)
    for image in np.unique(images):
        own = images == image
        names, counts = np.unique(labels[own], return_counts=True)
        kept |= own & (labels == names[counts.argmax()])
    return kept


def table(found: Sequence[Score]) -> tuple[list[str], list[list[str | float | None]]]:
    """Columns and rows: a row for each set of features, the value with its interval for each benchmark."""
    names = list(dict.fromkeys(score.benchmark for score in found))
    by_place = {(score.features, score.benchmark): score.interval for score in found}
    rows: list[list[str | float | None]] = []
    for features in dict.fromkeys(score.features for score in found):
        rows.append([features, *(written(by_place.get((features, name))) for name in names)])
    chances: dict[str, float] = {}
    for score in found:
        chances.setdefault(score.benchmark, score.chance)
    rows.append(["chance", *(None if math.isnan(chances[name]) else f"{chances[name]:.3f}" for name in names)])
    return ["features", *names], rows


def written(interval: Interval | None) -> str | None:
    """A value with its interval, as text."""
    return None if interval is None else f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def metrics(found: Sequence[Score], *, spread_of: Sequence[str] = ()) -> dict[str, float]:
    """Every score by a name of its own; of the benchmarks `spread_of` also the ends of their intervals.

    All intervals are in `frame`; a record of a run has room for some hundred numbers.
    """
    named: dict[str, float] = {}
    for score in found:
        name = f"{score.features}, {score.benchmark}"
        named |= score.interval.named(name) if score.benchmark in spread_of else {name: score.interval.value}
    for score in found:
        named.setdefault(f"chance, {score.benchmark}", score.chance)
    return named


def frame(found: Sequence[Score]) -> pd.DataFrame:
    """A row for each score."""
    rows = []
    for score in found:
        spread = score.interval
        rows.append(
            {
                "features": score.features,
                "benchmark": score.benchmark,
                "value": spread.value,
                "low": spread.low,
                "high": spread.high,
                "chance": score.chance,
                "cells": score.cells,
                "groups": score.groups,
                "classes": score.classes,
            }
        )
    return pd.DataFrame(rows)
