"""Many models into one: predictions for every field by models that never saw its protein, as another's soft targets.

targets = distil.soft_targets(config, training, validation, 5, workdir, kind="real")
student = classify.train_model(config, training, validation, workdir / "student", kind="real", targets=targets)
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float, Int64

from hpax.data import FieldSource, splits
from hpax.predict import refine
from hpax.recipes import classify

Item = TypeVar("Item")
Predict = Callable[[Item], Float[np.ndarray, "k n"]]


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
    items: Sequence[Item], folds: Int64[np.ndarray, " f"], fit: Callable[[Sequence[Item]], Predict]
) -> list[Float[np.ndarray, "k n"]]:
    """For each item what the model says that `fit` made of all items of the other folds; one model for each fold."""
    found: dict[int, np.ndarray] = {}
    for fold in np.unique(folds):
        predict = fit([item for item, own in zip(items, folds, strict=True) if own != fold])
        for place in np.flatnonzero(folds == fold).tolist():
            found[place] = predict(items[place])
    return [found[place] for place in range(len(items))]


def soft_targets(
    config: classify.Config,
    training: FieldSource,
    validation: FieldSource,
    count: int,
    folder: Callable[[classify.Config, int], pathlib.Path],
    *,
    kind: Literal["simulated", "real"],
) -> classify.Targets:
    """How much of each label of its field every training cell shows, by models that never saw its protein.

    `count` folds of proteins; each model learns for as many epochs as one of all fields would, in `folder(config,
    fold)`.
    """
    fold = folds(groups(training), count, strata=training.labels.argmax(1).tolist())
    share = 1 - 1 / count  # of the fields, and of the steps: as many epochs
    optimizer = dataclasses.replace(config.optimizer, steps=round(share * config.optimizer.steps))
    shorter = dataclasses.replace(config, optimizer=optimizer)

    def fit(places: Sequence[int]) -> Callable[[int], np.ndarray]:
        left_out = int(fold[min(set(range(len(training))) - set(places))])
        model = classify.train_model(
            shorter, training.part(list(places)), validation, folder(shorter, left_out), kind=kind
        )

        def predict(place: int) -> np.ndarray:
            return refine.shares(training.labels[place], model.predict(training[place]))

        return predict

    found = out_of_fold(range(len(training)), fold, fit)
    return {id: target.astype(np.float32) for id, target in zip(training.ids, found, strict=True)}


def groups(source: FieldSource) -> list[str]:
    """The protein of each field where it is known, else its image: what must not be on two sides of a split."""
    protein, image = (source.table[name].to_numpy(str) for name in ("protein", "group_id"))
    return [own or other for own, other in zip(protein.tolist(), image.tolist(), strict=True)]
