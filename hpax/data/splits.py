"""Splits by protein: every cell of a protein falls on one side.

`by_protein` goes by the name alone, whatever the data set around it; the stratified ones are for a set that is what it
is, and hold their shares of every class.
"""

import csv
import hashlib
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt

from hpax import files
from hpax.data import stratified
from hpax.formats import tables

COLUMNS = ("id", "group", "split")
"""Of a split that is written down."""

FRACTIONS: dict[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def draw(protein: str) -> float:
    """A number in [0, 1) that depends on the name alone, on every machine."""
    return int.from_bytes(hashlib.blake2b(protein.encode(), digest_size=8).digest()) / 2**64


def split_of(protein: str) -> str:
    """The split of a protein. Adding proteins to a data set moves none of the others."""
    edge = 0.0
    for split, fraction in FRACTIONS.items():
        edge += fraction
        if draw(protein) < edge:
            return split
    return split


def by_protein(proteins: Iterable[str]) -> dict[str, str]:
    """Protein → split, each by its own name."""
    return {protein: split_of(protein) for protein in proteins}


def by_class(classes: Mapping[str, int]) -> dict[str, str]:
    """Protein → split, such that the splits hold their fractions of every class, and at least one of three proteins.

    For closed sets whose classes are known, such as a simulated proteome: here adding a protein can move others of
    its class. `classes` names one class of each protein.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for protein, index in classes.items():
        members[index].append(protein)
    return {protein: split for group in members.values() for protein, split in _spread(group)}


def _spread(proteins: Sequence[str]) -> Iterable[tuple[str, str]]:
    if len(proteins) < len(FRACTIONS):
        return by_protein(proteins).items()
    held = {split: max(1, round(FRACTIONS[split] * len(proteins))) for split in ("validation", "test")}
    counts = {"train": len(proteins) - sum(held.values()), **held}
    order = sorted(proteins, key=lambda name: (draw(name), name))
    return zip(order, [split for split, count in counts.items() for _ in range(count)], strict=True)


def stratified_folds(
    groups: Sequence[str] | Shaped[np.ndarray, " n"], labels: UInt[np.ndarray, "n c"], count: int, *, seed: int
) -> Int64[np.ndarray, " n"]:
    """The fold, 0 to count - 1, of every example, from its group and its multi-hot labels.

    Folds are alike in size and in every class, as far as groups allow. The result depends on names and labels, and not
    on the order of the examples.

    Raises:
        ValueError: fewer than two folds, or fewer groups than folds.
    """
    if count < 2:
        raise ValueError(f"there must be at least 2 folds, got {count}")
    return _sides(groups, labels, np.full(count, 1 / count), seed, main=None)


def stratified_split(
    groups: Sequence[str] | Shaped[np.ndarray, " n"],
    labels: UInt[np.ndarray, "n c"],
    fractions: Mapping[str, float] = FRACTIONS,
    *,
    seed: int,
) -> Shaped[np.ndarray, " n"]:
    """The name of every example's split; `fractions` are those of the examples that each should hold.

    A class of two groups or more is in the largest split and in another one, where that can be.

    Raises:
        ValueError: a fraction is not positive, or there are fewer groups than splits.
    """
    shares = np.array(list(fractions.values()), np.float64)
    if len(shares) < 2 or not (shares > 0).all():
        raise ValueError(f"fractions must be positive, of at least two splits, got {dict(fractions)}")
    shares = shares / shares.sum()
    return np.array(list(fractions))[_sides(groups, labels, shares, seed, main=int(shares.argmax()))]


def _sides(
    groups: Sequence[str] | Shaped[np.ndarray, " n"],
    labels: UInt[np.ndarray, "n c"],
    shares: Float[np.ndarray, " k"],
    seed: int,
    main: int | None,
) -> Int64[np.ndarray, " n"]:
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < len(shares):
        raise ValueError(f"{len(names)} groups cannot be on {len(shares)} sides; take fewer of these, or more fields")
    counts = np.zeros((len(names), labels.shape[1] + 1), np.float64)  # of every class, and of all
    np.add.at(counts, member, np.column_stack([labels > 0, np.ones(len(labels))]))
    tie = np.array([draw(f"{seed} {name}") for name in names.tolist()])
    return stratified.sides(counts, shares, tie, main)[member]


def write_split(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    groups: Sequence[str],
    sides: Sequence[object] | Shaped[np.ndarray, " n"],
) -> None:
    """Writes a split down: a CSV of COLUMNS with a row per example, all of it or nothing."""
    with files.replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for id, group, side in zip(ids, groups, sides, strict=True):
            writer.writerow([id, group, str(side)])


def read_split(path: str | os.PathLike[str]) -> dict[str, str]:
    """Id → side, as text, of a split that `write_split` wrote, or that somebody else decided on.

    Raises:
        ValueError: no such columns, an id given twice, or without a side.
    """
    path = pathlib.Path(path)
    if not {"id", "split"} <= set(tables.columns(path)):
        raise ValueError(f"{path} needs the columns id and split, got {tables.columns(path)}")
    sides: dict[str, str] = {}
    for row in tables.read(path):
        id, side = row.values.get("id", ""), row.values.get("split", "")
        if not id or not side or id in sides:
            raise ValueError(f"{row.where}: every id needs one split, got {id!r} and {side!r}; correct the row")
        sides[id] = side
    return sides
