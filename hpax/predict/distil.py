"""Many models into one: predictions for every field by models that never saw its protein, as another's soft targets.

    fold = distil.folds(proteins, 5, strata=main_locations)
    targets = dict(zip(ids, distil.out_of_fold(fields, fold, fit), strict=True))  # fit trains an ensemble, say

These are the `targets` of `hpax.data.bags.BagBatches`; to keep them to the labels of the field, `combine.product`.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int64

from hpax.data import splits

Field = TypeVar("Field")
Predict = Callable[[Field], Float[np.ndarray, "k n"]]


def folds(proteins: Sequence[str], count: int, *, strata: Sequence[int] | None = None) -> Int64[np.ndarray, " f"]:
    """The fold of each field, 0 to count − 1: that of its protein, whose place is drawn by its name.

    Folds differ by at most one protein, in all and in each of the `strata`, such as a class of each field (of a
    protein's, the lowest counts).

    Raises:
        ValueError: fewer than two folds, or fewer proteins than folds.
    """
    strata = [0] * len(proteins) if strata is None else strata
    lowest: dict[str, int] = {}
    for protein, stratum in zip(proteins, strata, strict=True):
        lowest[protein] = min(stratum, lowest.get(protein, stratum))
    if not 2 <= count <= len(lowest):
        raise ValueError(f"folds must be 2 or more, and have a protein each, got {count} for {len(lowest)} proteins")
    order = sorted(lowest, key=lambda name: (lowest[name], splits.draw(name), name))
    place = {protein: index % count for index, protein in enumerate(order)}
    return np.array([place[protein] for protein in proteins], np.int64)


def out_of_fold(
    fields: Sequence[Field], folds: Int64[np.ndarray, " f"], fit: Callable[[Sequence[Field]], Predict]
) -> list[Float[np.ndarray, "k n"]]:
    """For each field what the model says that `fit` made of all fields of the other folds; one model for each fold."""
    found: dict[int, np.ndarray] = {}
    for fold in np.unique(folds):
        predict = fit([field for field, own in zip(fields, folds, strict=True) if own != fold])
        found |= {place: predict(fields[place]) for place in np.flatnonzero(folds == fold).tolist()}
    return [found[place] for place in range(len(fields))]
