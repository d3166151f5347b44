"""Where between two compartments the cells of a protein lie (Lu et al. 2019, "multi-localizing proteins").

Arrays have a row for each cell; `labels` are those of the cell's image, 0 or 1.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Num, Shaped

from hpax import atlas
from hpax.analysis import cluster

Features = Float[np.ndarray, "n d"]
Labels = Num[np.ndarray, "n 19"]


def single_means(features: Features, labels: Labels, *, least: int = 10) -> Float64[np.ndarray, "19 d"]:
    """The mean features of the cells of images with one label alone; NaN for a class with fewer than `least` cells."""
    means = np.full((len(atlas.LOCATIONS), features.shape[1]), np.nan)
    alone = (labels > 0).sum(1) == 1
    for label in range(len(means)):
        own = alone & (labels[:, label] > 0)
        if own.sum() >= least:
            means[label] = features[own].mean(0, dtype=np.float64)
    return means


def log_ratio(
    features: Features, first: Float[np.ndarray, " d"], second: Float[np.ndarray, " d"]
) -> Float64[np.ndarray, " n"]:
    """ln(distance to `first` / distance to `second`), natural: negative where a cell is nearer to the first.

    A cell that lies on a mean is as far from it as the smallest number of float64 that is not denormal.
    """
    tiny = np.finfo(np.float64).tiny
    to_first, to_second = (np.linalg.norm(features.astype(np.float64) - mean, axis=1) for mean in (first, second))
    return np.log(np.maximum(to_first, tiny)) - np.log(np.maximum(to_second, tiny))


def of_both(labels: Labels, first: int, second: int) -> Bool[np.ndarray, " n"]:
    """The cells of images that have both labels."""
    return (labels[:, first] > 0) & (labels[:, second] > 0)


def variable_proteins(
    features: Features, labels: Labels, proteins: Shaped[np.ndarray, " n"], *, least: int = 5, most: int = 10
) -> pd.DataFrame:
    """Proteins of two or more compartments by the standard deviation of their cells' log ratio, the highest first.

    Of a protein with several pairs of compartments the pair with the largest standard deviation is listed. Pairs one
    of which has no mean (`single_means`, `most` cells at least) are left out, and so are proteins of fewer than `least`
    cells.
    """
    means = single_means(features, labels, least=most)
    known = np.flatnonzero(np.isfinite(means).all(1))
    rows: dict[str, list[object]] = {}
    for first, second in itertools.combinations(known.tolist(), 2):
        cells = np.flatnonzero(of_both(labels, first, second))
        scores = log_ratio(features[cells], means[first], means[second])
        for protein, own in pd.Series(scores).groupby(proteins[cells].astype(str)):
            sd = float(own.std(ddof=1)) if len(own) >= least else -1.0
            name = str(protein)
            if sd >= 0 and (name not in rows or sd > rows[name][3]):  # type: ignore[operator]
                pair = [atlas.LOCATIONS[first], atlas.LOCATIONS[second]]
                rows[name] = [*pair, len(own), sd, float(own.mean())]
    columns = ["first", "second", "cells", "sd", "mean"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("protein")
    table = table.astype({"cells": int, "sd": float, "mean": float})
    return table.sort_values("sd", ascending=False, kind="stable")


class CellTree(NamedTuple):
    """The dendrogram of one protein's cells (Lu et al. 2019, Figure 6)."""

    linkage: Float64[np.ndarray, "m 4"]  # as scipy.cluster.hierarchy has it
    order: Int[np.ndarray, " n"]  # cells from left to right, optimal leaf order
    branch: Int[np.ndarray, " n"]  # of each cell, 0.. from left to right
    examples: tuple[Int[np.ndarray, " _"], ...]  # of each branch, its cells nearest to the branch's mean, nearest first


def cell_tree(features: Features, *, branches: int = 4, examples: int = 3) -> CellTree:
    """Cells of one protein by average linkage of Euclidean distances, cut into at most so many branches.

    Raises:
        ValueError: fewer than 3 cells, or more than 2,000, whose optimal order takes too long.
    """
    from scipy.cluster import hierarchy

    if not 3 <= len(features) <= 2000:
        raise ValueError(f"a tree needs 3 to 2000 cells, got {len(features)}; draw some of them")
    linkage = hierarchy.linkage(features.astype(np.float64), "average", optimal_ordering=True)
    order = hierarchy.leaves_list(linkage)
    branch = cluster.cut(linkage, branches, order) - 1
    nearest = []
    for number in range(branch.max() + 1):
        own = np.flatnonzero(branch == number)
        apart = np.linalg.norm(features[own] - features[own].mean(0), axis=1)
        nearest.append(own[np.argsort(apart, kind="stable")[:examples]])
    return CellTree(linkage, order, branch, tuple(nearest))
