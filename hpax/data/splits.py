"""Splits by protein: every cell of a protein falls on one side, whatever the data set around it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

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
