"""Pairs of cells as published (Lu et al. 2019): each cell once per epoch as the source, its target drawn at random.

Every function is pure in (seed, epoch) and handles all cells at once.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

Pair = Literal["sibling", "self", "random"]

_ORDER, _TARGET, _FLIP = range(3)  # streams of randomness


def order(n: int, *, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    """The cells in the order in which an epoch takes them as sources: a permutation of 0..n-1."""
    return _generator(seed, epoch, _ORDER).permutation(n)


def targets(groups: Int[np.ndarray, " n"], pair: Pair = "sibling", *, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    """The target of every cell in an epoch.

    `groups` numbers the image of each cell. "sibling" draws uniformly from the other cells of the same image, as
    published; "random" uniformly from the cells of all other images; "self" is the cell itself.

    Raises:
        ValueError: "sibling" of a cell alone in its image, or "random" with a single image.
    """
    if pair not in get_args(Pair):
        raise ValueError(f"pair must be one of {', '.join(get_args(Pair))}, got {pair!r}")
    if pair == "self":
        return np.arange(len(groups))
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    rank = np.empty_like(by_group)
    rank[by_group] = np.arange(len(groups))  # where each cell stands when cells are sorted by group
    starts = np.cumsum(counts) - counts
    start, count = starts[group], counts[group]
    rng = _generator(seed, epoch, _TARGET)
    if pair == "sibling":
        _check_siblings(counts)
        return by_group[start + (rank - start + rng.integers(1, count)) % count]
    if len(counts) < 2:
        raise ValueError(f"pair='random' needs cells of at least 2 images, got {len(counts)}; use pair='sibling'")
    return by_group[(start + count + rng.integers(0, len(groups) - count)) % len(groups)]


def flips(n: int, *, seed: int, epoch: int) -> Bool[np.ndarray, "n 2 2"]:
    """Whether to flip each pair in an epoch: [cell, source or target, vertically or horizontally], independently."""
    return _generator(seed, epoch, _FLIP).integers(0, 2, (n, 2, 2), dtype=np.uint8).astype(bool)


def _check_siblings(counts: Int[np.ndarray, " k"]) -> None:
    if lonely := int(np.count_nonzero(counts == 1)):
        raise ValueError(
            f"pair='sibling' needs at least 2 cells in each image, but {lonely} of {len(counts)} images have 1; "
            "build the data set with min_cells=2 or more, or use pair='self'"
        )


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch, stream))
