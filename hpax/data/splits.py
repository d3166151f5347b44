"""Splits by protein: every cell of a protein falls on one side, whatever the data set around it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

FRACTIONS: dict[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}

_EACH_CLASS_FIRST = ("train", "test", "validation")


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
    """Protein → split, such that a class with at least three proteins has one in each split.

    For closed sets whose classes are known, such as a simulated proteome: here adding a protein can move others of
    its class. `classes` names one class of each protein.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for protein, index in classes.items():
        members[index].append(protein)
    return {protein: split for group in members.values() for protein, split in _spread(group)}


def _spread(proteins: Sequence[str]) -> Iterable[tuple[str, str]]:
    for rank, protein in enumerate(sorted(proteins, key=lambda name: (draw(name), name))):
        seeded = rank < len(_EACH_CLASS_FIRST) <= len(proteins)
        yield protein, _EACH_CLASS_FIRST[rank] if seeded else split_of(protein)
