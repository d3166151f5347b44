"""Pairs of cells as published (Lu et al. 2019): each cell once per epoch as the source, its target drawn at random.

Every function is pure in (seed, epoch) and handles all cells at once.
"""

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

Pair = Literal["sibling", "protein", "self", "random"]

_ORDER, _TARGET, _FLIP = range(3)  # streams of randomness


def order(n: int, *, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    """The cells in the order in which an epoch takes them as sources: a permutation of 0..n-1."""
    return _generator(seed, epoch, _ORDER).permutation(n)


def targets(
    groups: Int[np.ndarray, " n"],
    pair: Pair = "sibling",
    *,
    proteins: Int[np.ndarray, " n"] | None = None,
    seed: int,
    epoch: int,
) -> Int[np.ndarray, " n"]:
    """The target of every cell in an epoch.

    `groups` numbers the image of each cell, `proteins` its protein. "sibling" draws uniformly from the other cells of
    the same image, as published; "protein" from the cells of the same protein in other images; "random" from the cells
    of all other images; "self" is the cell itself.

    Raises:
        ValueError: "sibling" of a cell alone in its image, "protein" of one imaged once, or "random" with one image.
    """
    if pair not in get_args(Pair):
        raise ValueError(f"pair must be one of {', '.join(get_args(Pair))}, got {pair!r}")
    if pair == "self":
        return np.arange(len(groups))
    rng = _generator(seed, epoch, _TARGET)
    if pair == "sibling":
        image = _blocks(groups)
        _check_siblings(image.counts)
        return image.order[image.start + (image.rank - image.start + rng.integers(1, image.count)) % image.count]
    if pair == "random":
        proteins = np.zeros_like(groups)
    elif proteins is None:
        raise ValueError('pair="protein" needs the protein of each cell; give proteins')
    numbers = (np.unique(each, return_inverse=True)[1] for each in (proteins, groups))
    protein, image_of = (each.astype(np.int64) for each in numbers)
    image = _blocks(protein * len(groups) + image_of)  # a protein's images lie one after another,
    whole = _blocks(protein)  # and the proteins in the same order
    _check_images(pair, image, whole)
    offset = image.start + image.count - whole.start + rng.integers(0, whole.count - image.count)
    return image.order[whole.start + offset % whole.count]


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """Cells sorted by what they belong to."""

    order: Int[np.ndarray, " n"]  # the cells, those of a block one after another
    rank: Int[np.ndarray, " n"]  # where each cell stands there
    start: Int[np.ndarray, " n"]  # where its block begins
    count: Int[np.ndarray, " n"]  # how many cells its block has
    counts: Int[np.ndarray, " k"]  # of each block


def _blocks(names: Int[np.ndarray, " n"]) -> _Blocks:
    _, block, counts = np.unique(names, return_inverse=True, return_counts=True)
    order = np.argsort(block, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(names))
    starts = np.cumsum(counts) - counts
    return _Blocks(order, rank, starts[block], counts[block], counts)


def flips(n: int, *, seed: int, epoch: int) -> Bool[np.ndarray, "n 2 2"]:
    """Whether to flip each pair in an epoch: [cell, source or target, vertically or horizontally], independently."""
    return _generator(seed, epoch, _FLIP).integers(0, 2, (n, 2, 2), dtype=np.uint8).astype(bool)


def _check_siblings(counts: Int[np.ndarray, " k"]) -> None:
    if lonely := int(np.count_nonzero(counts == 1)):
        raise ValueError(
            f"pair='sibling' needs at least 2 cells in each image, but {lonely} of {len(counts)} images have 1; "
            "build the data set with min_cells=2 or more, or use pair='self'"
        )


def _check_images(pair: Pair, image: _Blocks, whole: _Blocks) -> None:
    """That each cell has others in other images."""
    alone = image.count == whole.count
    if not alone.any():
        return
    if pair == "random":
        raise ValueError("pair='random' needs cells of at least 2 images, got 1; use pair='sibling'")
    lonely = len(np.unique(whole.start[alone]))
    raise ValueError(
        f"pair='protein' needs cells of each protein in at least 2 images, but {lonely} of {len(whole.counts)} "
        "proteins were imaged once; leave these out, or use pair='sibling'"
    )


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch, stream))
