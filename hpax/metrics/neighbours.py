"""The leave-one-out nearest-neighbour benchmark: are cells of one class neighbours in feature space?

Protocol of Lu et al. (2019): standardised features, Euclidean distance, majority vote of k neighbours, balanced
accuracy. Published numbers leave out the cell itself only; cells of the same protein, however, share plate, stain and
antibody, and find each other by these. Leave out the whole group of a cell to ask for its class alone.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hpax.types import Array

PUBLISHED_K = (1, 5, 11, 25, 50)
_BLOCK = 256  # cells whose distances to all others are in memory at once
_SPARE = 8  # candidates beyond k whose true distance is taken as well
_VOTES = 10_000_000  # cells × classes that are counted at once


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """How well neighbours tell the class of a cell, and what that rests on."""

    balanced_accuracy: dict[int, float]  # k → mean recall over classes
    recall: dict[int, Float[np.ndarray, " classes"]]  # k → share of each class's cells that are told right
    classes: tuple[str, ...]
    counts: tuple[int, ...]  # cells of each class
    groups: int  # groups of cells that were left out together
    hopeless: tuple[str, ...]  # classes within one group: none of their cells can be right
    short: int  # cells with fewer eligible neighbours than the largest k; all of those vote

    @property
    def chance(self) -> float:
        """The balanced accuracy of guessing."""
        return 1 / len(self.classes)


def benchmark(
    features: Float[Array, "n c"],
    labels: Sequence,
    groups: Sequence | None,
    *,
    k: Sequence[int] = PUBLISHED_K,
    standardise: bool = True,
    drop_hopeless: bool = False,
) -> Benchmark:
    """Tells each cell's class by the majority of its `k` nearest neighbours in other groups.

    One search serves every k. Of classes with equal votes the first in sorted order wins, as in scikit-learn.

    Args:
        features: one row per cell, finite.
        labels: the class of each cell.
        groups: what is left out with a cell, such as its protein or its image; None leaves out the cell alone.
        k: numbers of neighbours that vote.
        standardise: give every feature mean 0 and standard deviation 1 first; constant ones become 0.
        drop_hopeless: take classes that occur in one group only out of the cells, instead of counting them as wrong.

    Raises:
        ValueError: lengths differ, a feature is not finite, or no cell has a neighbour outside of its group.
    """
    features = np.asarray(features, np.float32)
    groups = np.arange(len(features)) if groups is None else np.asarray(groups)
    labels = np.asarray(labels).astype(str)
    _check(features, labels, groups, k)
    hopeless = _hopeless(labels, groups)
    if drop_hopeless:
        kept = ~np.isin(labels, hopeless)
        features, labels, groups = features[kept], labels[kept], groups[kept]
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    found = nearest(_standardised(features) if standardise else features, groups, k=max(k))
    recall = {each: _recall(vote(found[:, :each], codes), codes) for each in k}
    return Benchmark(
        balanced_accuracy={each: float(shares.mean()) for each, shares in recall.items()},
        recall=recall,
        classes=tuple(classes.tolist()),
        counts=tuple(counts.tolist()),
        groups=len(np.unique(groups)),
        hopeless=tuple(hopeless.tolist()),
        short=int((found[:, -1] < 0).sum()),
    )


def nearest(features: Float[Array, "n c"], groups: Sequence, *, k: int, block: int = _BLOCK) -> Int[np.ndarray, "n k"]:
    """The `k` nearest cells of other groups, nearest first; of equally near ones the first; −1 where there are fewer.

    Works on `block` × n distances at a time. These come from one matrix product, whose rounding could swap close
    rivals; a few candidates more than `k` are therefore ordered by their true distance.
    """
    n = len(features)
    block, k = min(block, n), min(k, n)
    features = jnp.asarray(np.asarray(features, np.float32) - np.mean(features, axis=0, dtype=np.float32))
    codes = jnp.asarray(np.unique(np.asarray(groups), return_inverse=True)[1], jnp.int32)
    squares = jnp.square(features).sum(1)
    found = np.empty((n, k), np.int32)
    for start in range(0, n, block):
        rows = min(start, n - block)  # the last block reaches back, so that all have one shape and compile once
        found[rows : rows + block] = _nearest(features, squares, codes, rows, k=k, block=block)
    return found


@partial(jax.jit, static_argnames=("k", "block"))
def _nearest(features: Array, squares: Array, codes: Array, start: int, *, k: int, block: int) -> Int[Array, "block k"]:
    """The neighbours of the `block` cells from `start` on."""
    cells = jax.lax.dynamic_slice_in_dim(features, start, block)
    own = jax.lax.dynamic_slice_in_dim(codes, start, block)
    rank = squares - 2 * jnp.matmul(cells, features.T, precision=jax.lax.Precision.HIGHEST)  # distance² − own square
    rank = jnp.where(codes == own[:, None], jnp.inf, rank)
    candidates = jnp.sort(jax.lax.top_k(-rank, min(k + _SPARE, len(features)))[1])  # in order: the first wins a tie
    distance = jnp.square(features[candidates] - cells[:, None]).sum(-1)
    distance = jnp.where(codes[candidates] == own[:, None], jnp.inf, distance)
    negative, order = jax.lax.top_k(-distance, k)
    return jnp.where(jnp.isfinite(negative), jnp.take_along_axis(candidates, order, 1), -1)


def vote(neighbours: Int[np.ndarray, "n k"], codes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The class most frequent among each cell's neighbours, the lowest of equals; −1 entries do not vote.

    Args:
        neighbours: indices of cells, as `nearest` gives them.
        codes: the class of each cell, 0 … classes − 1.
    """
    classes = int(codes.max()) + 1
    rows = max(1, _VOTES // classes)
    return np.concatenate([_vote(part, codes, classes) for part in np.split(neighbours, range(rows, len(codes), rows))])


def _vote(neighbours: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    row, column = np.nonzero(neighbours >= 0)
    ballots = row * classes + codes[neighbours[row, column]]
    return np.bincount(ballots, minlength=len(neighbours) * classes).reshape(-1, classes).argmax(1)


def _recall(predicted: np.ndarray, codes: np.ndarray) -> Float[np.ndarray, " classes"]:
    return np.bincount(codes, predicted == codes) / np.bincount(codes)


def _hopeless(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The classes all of whose cells share a group."""
    pairs = np.unique(np.stack([np.unique(each, return_inverse=True)[1] for each in (labels, groups)]), axis=1)
    return np.unique(labels)[np.bincount(pairs[0]) == 1]


def _standardised(features: np.ndarray) -> np.ndarray:
    deviation = features.std(0, dtype=np.float64)
    mean = features.mean(0, dtype=np.float64)
    constant = deviation <= 1e-6 * np.abs(mean)  # what rounding leaves of a constant
    return ((features - mean) / np.where(constant, np.inf, deviation)).astype(np.float32)


def _check(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, k: Sequence[int]) -> None:
    if not len(features) == len(labels) == len(groups):
        sizes = f"{len(features)}, {len(labels)} and {len(groups)}"
        raise ValueError(
            f"features, labels and groups must be of the same cells, got {sizes}; pass one of each per cell"
        )
    if not k or min(k) < 1:
        raise ValueError(f"every k must be at least 1, got {tuple(k)}; the published ones are {PUBLISHED_K}")
    if len(bad := np.flatnonzero(~np.isfinite(features).all(1))):
        raise ValueError(
            f"features must be finite, {len(bad)} cells' are not, first row {bad[0]}; leave these cells out"
        )
    if len(np.unique(groups)) < 2:
        raise ValueError(f"neighbours must come from another group, got one group of {len(groups)} cells; add groups")
