"""The leave-one-out nearest-neighbour benchmark: are cells of one class neighbours in feature space?

Protocol of Lu et al. (2019): standardised features, Euclidean distance, majority vote of k neighbours, balanced
accuracy. Published numbers leave out the cell itself only; cells of the same protein, however, share plate, stain and
antibody, and find each other by these. Leave out the whole group of a cell to ask for its class alone.

Cells of the classes that are asked about vote, and no others: a vote for a class that is not scored could only be
wrong. A cell's own class loses its group to vote for it, so chance is not one over the classes: it is what neighbours
drawn at random would tell under the same protocol.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int
from numpy.typing import ArrayLike

from hpax.metrics import balanced_accuracy
from hpax.metrics.bootstrap import Interval
from hpax.types import Array

PUBLISHED_K = (1, 5, 11, 25, 50)
_BLOCK = 256  # cells whose distances to all others are in memory at once
_SPARE = 8  # candidates beyond k whose true distance is taken as well
_VOTES = 10_000_000  # cells × classes that are counted at once
_DRAWS = 1000  # times that neighbours are drawn at random, for chance


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """How well neighbours tell the class of a cell, and what that rests on."""

    balanced_accuracy: dict[int, float]  # k → mean recall over classes
    recall: dict[int, Float[np.ndarray, " classes"]]  # k → share of each class's cells that are told right
    interval: dict[int, Interval]  # k → the balanced accuracy, and its spread over resamples of groups
    chance: dict[int, float]  # k → the balanced accuracy of neighbours drawn at random
    classes: tuple[str, ...]
    counts: tuple[int, ...]  # cells of each class that were asked about
    groups: int  # groups of these cells; each was left out together
    single_group_classes: tuple[str, ...]  # classes within one group: none of their cells can be right
    n_voters: int  # cells that vote: those of `classes`
    n_incomplete: int  # cells with fewer eligible neighbours than the largest k; all of those vote


def benchmark(
    features: Float[Array, "n c"],
    labels: ArrayLike,
    groups: ArrayLike | None,
    *,
    k: int | Sequence[int] = PUBLISHED_K,
    query: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    standardise: bool = True,
    drop_single_group_classes: bool = False,
    resamples: int = 1000,
) -> Benchmark:
    """Tells each cell's class by the majority of its `k` nearest neighbours in other groups.

    One search serves every k. Of classes with equal votes the first in sorted order wins, as in scikit-learn. Features
    are standardised over the cells that vote.

    Args:
        features: one row per cell, finite.
        labels: the class of each cell.
        groups: what is left out with a cell, such as its protein or its image; None leaves out the cell alone.
        k: numbers of neighbours that vote, or one number.
        query: the cells whose class is told, such as those of proteins that an encoder never saw; of the others,
            those of the same classes vote. None asks for all.
        clusters: what shares its fate in the resamples of the intervals, such as the protein where `groups` is None;
            None takes `groups`.
        standardise: give every feature mean 0 and standard deviation 1 first; constant ones become 0.
        drop_single_group_classes: take classes that occur in one group only out of the cells, instead of counting
            them as wrong.
        resamples: of the clusters, for the intervals.

    Raises:
        ValueError: lengths differ, a feature is not finite, no cell is asked about, or none has a neighbour outside of
            its group.
    """
    k = (k,) if isinstance(k, int) else tuple(k)
    features, labels, groups, query, clusters = _arrays(features, labels, groups, query, clusters)
    _check(features, labels, groups, query, clusters, k)
    single_group_classes = _single_group_classes(labels, groups)
    query = _told_apart(query, labels, single_group_classes) if drop_single_group_classes else query
    voters = np.isin(labels, labels[query])
    features, labels, groups, clusters, query = (x[voters] for x in (features, labels, groups, clusters, query))
    features = standardised(features) if standardise else features
    classes, codes = np.unique(labels, return_inverse=True)
    found = nearest(features, groups, k=max(k), rows=np.flatnonzero(query))
    asked = functools.partial(balanced_accuracy.interval, codes[query], groups=clusters[query], resamples=resamples)
    told = {each: vote(found[:, :each], codes) for each in k}
    recall = {each: _recall(answers, codes[query]) for each, answers in told.items()}
    return Benchmark(
        balanced_accuracy={each: float(shares.mean()) for each, shares in recall.items()},
        recall=recall,
        interval={each: asked(answers) for each, answers in told.items()},
        chance={each: _chance(codes, groups, query, each) for each in k},
        classes=tuple(classes.tolist()),
        counts=tuple(np.bincount(codes[query]).tolist()),
        groups=len(np.unique(groups[query])),
        single_group_classes=tuple(single_group_classes.tolist()),
        n_voters=len(labels),
        n_incomplete=int((found[:, -1] < 0).sum()),
    )


def _arrays(
    features: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None,
    query: ArrayLike | None,
    clusters: ArrayLike | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What was given, as arrays; what was not, by what it defaults to."""
    cells = np.asarray(features, np.float32)
    groups = np.arange(len(cells)) if groups is None else np.asarray(groups)
    clusters = groups if clusters is None else np.asarray(clusters)
    query = np.ones(len(cells), bool) if query is None else np.asarray(query, bool)
    return cells, np.asarray(labels).astype(str), groups, query, clusters


def _told_apart(query: np.ndarray, labels: np.ndarray, single_group_classes: np.ndarray) -> np.ndarray:
    """The cells that are asked about, without those of classes that occur in one group only."""
    query = query & ~np.isin(labels, single_group_classes)
    if not query.any():
        raise ValueError("every class must occur in two groups to be told, none does; give cells of more groups")
    return query


def nearest(
    features: Float[Array, "n c"],
    groups: ArrayLike,
    *,
    k: int,
    rows: Int[np.ndarray, " r"] | None = None,
    block: int = _BLOCK,
) -> Int[np.ndarray, "r k"]:
    """The `k` nearest cells of other groups, nearest first; of equally near ones the first; −1 where there are fewer.

    One row for each of the cells `rows`, or for every cell.

    Works on `block` × n distances at a time. These come from one matrix product, whose rounding could swap close
    rivals; a few candidates more than `k` are therefore ordered by their true distance.
    """
    rows = np.arange(len(features)) if rows is None else rows
    n, k = len(rows), min(k, len(features))
    block = min(block, n)
    features = jnp.asarray(np.asarray(features, np.float32) - np.mean(features, axis=0, dtype=np.float32))
    codes = jnp.asarray(np.unique(np.asarray(groups), return_inverse=True)[1], jnp.int32)
    squares = jnp.square(features).sum(1)
    found = np.empty((n, k), np.int32)
    for start in range(0, n, block):
        part = slice(min(start, n - block), min(start, n - block) + block)  # the last reaches back: one shape for all
        found[part] = _nearest(features, squares, codes, rows[part], k=k)
    return found


@partial(jax.jit, static_argnames=("k",))
def _nearest(features: Array, squares: Array, codes: Array, rows: Array, *, k: int) -> Int[Array, "block k"]:
    """The neighbours of the cells `rows`."""
    cells, own = features[rows], codes[rows]
    rank = squares - 2 * jnp.matmul(cells, features.T, precision=jax.lax.Precision.HIGHEST)  # distance² − own square
    rank = jnp.where(codes == own[:, None], jnp.inf, rank)
    candidates = jnp.sort(jax.lax.top_k(-rank, min(k + _SPARE, len(features)))[1])  # in order: the first wins a tie
    distance = jnp.square(features[candidates] - cells[:, None]).sum(-1)
    distance = jnp.where(codes[candidates] == own[:, None], jnp.inf, distance)
    negative, order = jax.lax.top_k(-distance, k)
    return jnp.where(jnp.isfinite(negative), jnp.take_along_axis(candidates, order, 1), -1)


def vote(neighbours: Int[np.ndarray, "m k"], codes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """The class most frequent among each cell's neighbours, the lowest of equals; −1 entries do not vote.

    Args:
        neighbours: indices of cells, as `nearest` gives them.
        codes: the class of each cell, 0 … classes − 1.
    """
    classes = int(codes.max()) + 1
    rows = max(1, _VOTES // classes)
    return np.concatenate(
        [_vote(part, codes, classes) for part in np.split(neighbours, range(rows, len(neighbours), rows))]
    )


def _vote(neighbours: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    row, column = np.nonzero(neighbours >= 0)
    ballots = row * classes + codes[neighbours[row, column]]
    return np.bincount(ballots, minlength=len(neighbours) * classes).reshape(-1, classes).argmax(1)


def _recall(predicted: np.ndarray, codes: np.ndarray) -> Float[np.ndarray, " classes"]:
    counts = np.bincount(codes)
    return np.bincount(codes, predicted == codes)[counts > 0] / counts[counts > 0]


def _chance(codes: Int[np.ndarray, " n"], groups: np.ndarray, query: np.ndarray, k: int) -> float:
    """The balanced accuracy of the votes of `k` cells drawn at random from other groups, by many draws of one seed."""
    everything, which = np.bincount(codes), np.unique(groups, return_inverse=True)[1]
    voters: list[np.ndarray] = []
    kind_of = np.zeros(which.max() + 1, np.int64)  # groups of the same classes and counts share a kind
    kinds: dict[tuple[bytes, bytes], int] = {}
    for group, own, counts in _compositions(codes, which):
        key = own.tobytes(), counts.tobytes()
        if key not in kinds:
            kinds[key] = len(voters)
            others = everything.copy()
            others[own] -= counts
            voters.append(others)
        kind_of[group] = kinds[key]
    draws = int(np.clip(_VOTES * 5 // (len(voters) * len(everything)), 1, _DRAWS))
    told = np.stack([_drawn(others, k, draws) for others in voters])
    own = codes[query]
    right, asked = np.bincount(own, told[kind_of[which[query]], own]), np.bincount(own)
    return float((right[asked > 0] / asked[asked > 0]).mean())


def _compositions(codes: np.ndarray, group: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Of each group its number, its classes and how many cells of each."""
    classes = int(codes.max()) + 1
    pairs, counts = np.unique(group.astype(np.int64) * classes + codes, return_counts=True)
    starts = np.searchsorted(pairs // classes, np.arange(group.max() + 2))
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
        yield number, pairs[start:stop] % classes, counts[start:stop]


def _drawn(counts: Int[np.ndarray, " classes"], k: int, draws: int) -> Float[np.ndarray, " classes"]:
    """How often `k` of so many cells of each class, drawn without putting back, tell a class."""
    rng = np.random.default_rng(0)
    votes = rng.multivariate_hypergeometric(counts, min(k, counts.sum()), draws, method="marginals")
    return np.bincount(votes.argmax(1), minlength=len(counts)) / draws


def _single_group_classes(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The classes all of whose cells share a group."""
    pairs = np.unique(np.stack([np.unique(each, return_inverse=True)[1] for each in (labels, groups)]), axis=1)
    return np.unique(labels)[np.bincount(pairs[0]) == 1]


def standardised(features: Float[np.ndarray, "n c"]) -> Float32[np.ndarray, "n c"]:
    """Every feature with mean 0 and standard deviation 1; constant ones 0."""
    deviation = features.std(0, dtype=np.float64)
    mean = features.mean(0, dtype=np.float64)
    constant = deviation <= 1e-6 * np.abs(mean)  # what rounding leaves of a constant
    return ((features - mean) / np.where(constant, np.inf, deviation)).astype(np.float32)


def _check(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    query: np.ndarray,
    clusters: np.ndarray,
    k: Sequence[int],
) -> None:
    if len(sizes := {len(features), len(labels), len(groups), len(query), len(clusters)}) > 1:
        raise ValueError(f"features, labels, groups and query must be of the same cells, got lengths {sorted(sizes)}")
    if not query.any():
        raise ValueError("at least one cell must be asked about, got none; leave query out to ask for all")
    if not k or min(k) < 1:
        raise ValueError(f"every k must be at least 1, got {tuple(k)}; the published ones are {PUBLISHED_K}")
    if len(bad := np.flatnonzero(~np.isfinite(features).all(1))):
        raise ValueError(
            f"features must be finite, {len(bad)} cells' are not, first row {bad[0]}; leave these cells out"
        )
    if len(np.unique(groups)) < 2:
        raise ValueError(f"neighbours must come from another group, got one group of {len(groups)} cells; add groups")
