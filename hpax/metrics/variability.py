"""Proteins whose cells scatter in feature space (Lu et al. 2019). All arrays have a row for each cell, in one order."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64, Shaped

Names = Shaped[np.ndarray, " n"]


def by_protein(
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
