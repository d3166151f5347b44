"""Proteins and images whose cells differ.

Le et al. (2022, "Single-cell heterogeneity"): an image is heterogeneous if its cells carry different sets of labels,
cells whose nucleus the border cuts left out. Lu et al. (2019): proteins whose cells scatter in feature space. All
arrays have a row for each cell, in one order.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int64, Num, Shaped

from hpax import atlas

Labels = Num[np.ndarray, "n 19"]  # 0 or 1
Names = Shaped[np.ndarray, " n"]


def label_sets(labels: Labels) -> Int64[np.ndarray, " n"]:
    """A number for each cell that is the same where the sets of labels are."""
    return (labels > 0).astype(np.int64) @ (1 << np.arange(len(atlas.LOCATIONS), dtype=np.int64))


def images(
    fields: Names, labels: Labels, *, left_out: Bool[np.ndarray, " n"] | None = None, least: int = 2
) -> pd.DataFrame:
    """A row for each field: cells, label sets, the share of cells beside the commonest set, and heterogeneous.

    Args:
        fields: the field of each cell.
        labels: what each cell shows, refined by its field's labels (`hpax.predict.refine`) as published.
        left_out: cells that are not counted: published are those whose nucleus touches the border of the field.
        least: fields with fewer cells that count are not in the table, as nothing can differ in them.
    """
    kept = np.ones(len(fields), bool) if left_out is None else ~left_out
    table = pd.DataFrame({"field": fields[kept].astype(str), "labels": label_sets(labels[kept])})
    rows = []
    for field, own in table.groupby("field", sort=True)["labels"]:
        counts = own.value_counts()
        if len(own) >= least:
            rows.append([str(field), len(own), len(counts), 1 - counts.iloc[0] / len(own), len(counts) > 1])
    found = pd.DataFrame(rows, columns=["field", "cells", "label_sets", "odd_share", "heterogeneous"])
    return found.astype({"heterogeneous": bool, "odd_share": float}).set_index("field")


def by_cell_line(found: pd.DataFrame, cell_lines: pd.Series) -> pd.DataFrame:
    """How many of the `images` of each cell line are heterogeneous; `cell_lines` is by field."""
    named = found.assign(cell_line=cell_lines.reindex(found.index).fillna("").to_numpy(str))
    table = named.groupby("cell_line")["heterogeneous"].agg(["size", "sum", "mean"])
    return table.set_axis(["images", "heterogeneous", "share"], axis=1)


def single_per_cell(
    proteins: Names, image_labels: Labels, cell_labels: Labels, *, share: float = 0.5, least: int = 5
) -> pd.DataFrame:
    """Proteins that images name several locations of, while their cells show one at a time.

    A row for each protein of two or more locations in its images and `least` cells or more: locations, cells, and which
    shares of the cells show none, one and several of them; `single_located` if those with one are over `share` of all,
    and cells with one do not all show the same.
    """
    places = [label for label in range(len(atlas.LOCATIONS)) if label != atlas.NEGATIVE]
    rows = []
    for protein, own in rows_by_name(proteins):
        locations = np.flatnonzero(image_labels[own][:, places].any(0))
        if len(locations) < 2 or len(own) < least:
            continue
        shown = cell_labels[own][:, places] > 0
        counts = shown.sum(1)
        different = shown[counts == 1].any(0).sum() > 1
        parts = [(counts == 0).mean(), (counts == 1).mean(), (counts > 1).mean()]
        names = ";".join(atlas.LOCATIONS[places[label]] for label in locations)
        rows.append([protein, names, len(own), *parts, bool(different and parts[1] > share)])
    columns = ["protein", "locations", "cells", "none", "one", "several", "single_located"]
    return pd.DataFrame(rows, columns=columns).astype({"single_located": bool}).set_index("protein")


def variability(
    features: Float[np.ndarray, "n d"],
    proteins: Names,
    fields: Names,
    *,
    resamples: int = 200,
    seed: int = 0,
    level: float = 0.95,
    least: int = 5,
) -> pd.DataFrame:
    """Proteins by how much their cells differ within an image, the most variable first, with bootstrap intervals.

    The value is the variance within fields, summed over features and pooled over the protein's fields, as a share of
    its mean over proteins: 1 is as variable as usual. What differs between fields (cell line, exposure) does not count.
    Intervals are percentiles over cells drawn with replacement within their field, scaled by n / (n - 1), as a resample
    has that much less variance.

    Args:
        features: of each cell, scaled as distances should count them; probabilities of classes are such, too.
        least: proteins with fewer cells, or all of them alone in their field, are left out.

    Raises:
        ValueError: features that are not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, some are not; leave these cells out")
    rows, drawn = [], []
    for number, (protein, own) in enumerate(rows_by_name(proteins)):
        parts = [own[inner] for _, inner in rows_by_name(fields[own]) if len(inner) > 1]
        if len(own) < least or not parts:
            continue
        random = np.random.default_rng([seed, number])
        value, resampled = _within_variance([features[part] for part in parts], random, resamples)
        rows.append([protein, int(sum(map(len, parts))), len(parts), value])
        drawn.append(resampled)
    table = pd.DataFrame(rows, columns=["protein", "cells", "fields", "variability"])
    table = table.astype({"cells": int, "fields": int, "variability": float})
    if not len(table):
        return table.assign(low=np.empty(0), high=np.empty(0)).set_index("protein")
    usual = table["variability"].mean() or 1.0
    low, high = np.quantile(np.array(drawn), [(1 - level) / 2, (1 + level) / 2], axis=1) / usual
    table = table.assign(variability=table["variability"] / usual, low=low, high=high)
    return table.sort_values(["variability", "protein"], ascending=[False, True]).set_index("protein")


def _within_variance(
    parts: list[np.ndarray], random: np.random.Generator, resamples: int
) -> tuple[float, Float64[np.ndarray, " b"]]:
    """The pooled variance within parts, and that of resamples of them."""
    degrees = sum(len(part) - 1 for part in parts)
    total, drawn = 0.0, np.zeros(resamples)
    for part in parts:
        n = len(part)
        centred = (part - part.mean(0)).astype(np.float64)
        square = (centred**2).sum(1)
        weights = random.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
        total += square.sum()
        drawn += (weights @ square - ((weights @ centred) ** 2).sum(1) / n) * n / (n - 1)
    return total / degrees, drawn / degrees


def names(column: pd.Series) -> Names:
    """A column as text; what is missing is "", which names nothing."""
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(str)


def rows_by_name(names: Names) -> Iterator[tuple[str, Int64[np.ndarray, " k"]]]:
    """Name → ascending rows, by name."""
    found, inverse = np.unique(names.astype(str), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse, minlength=len(found)))
    for number, name in enumerate(found):
        yield str(name), order[(ends[number - 1] if number else 0) : ends[number]]
