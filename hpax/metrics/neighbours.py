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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, Shaped
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
    truth: Int[np.ndarray, " q"]  # the class of each cell that was asked about, its place in `classes`
    told: dict[int, Int[np.ndarray, " q"]]  # k → the class that its neighbours tell
    clusters: Shaped[np.ndarray, " q"]  # what intervals draw together

    def more_than(self, other: "Benchmark", k: int) -> Interval:
        """How much higher the balanced accuracy is than another's of the same cells, over the same resamples.

        Raises:
            ValueError: the two asked about different cells.
        """
        mine, others = (np.array(each.classes)[each.truth] for each in (self, other))
        if not (np.array_equal(mine, others) and np.array_equal(self.clusters, other.clusters)):
            raise ValueError("what is compared must be told of the same cells in one order, it is not; match the cells")
        return balanced_accuracy.interval(self.truth, self.told[k], self.clusters, than=other.told[k])


def benchmark(
    features: Float[Array, "n c"],
    labels: ArrayLike,
    groups: ArrayLike | None,
    *,
    k: int | Sequence[int] = PUBLISHED_K,
    query: ArrayLike | None = None,
    asked: Float[np.ndarray, "q c"] | None = None,
    also: ArrayLike | None = None,
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
        asked: features of the cells of `query`, in their order, that their neighbours are looked for by, such as of
            spoilt images; these cells vote by `features` as all others do. None: their `features`.
        also: what is left out with a cell besides, such as its cell line; neighbours differ in both.
        clusters: what shares its fate in the resamples of the intervals, such as the protein where `groups` is None;
            None takes `groups`.
        standardise: give every feature mean 0 and standard deviation 1 first; constant ones become 0.
        drop_single_group_classes: take classes that occur in one group only (or in one of `also`) out of the cells,
            instead of counting them as wrong.
        resamples: of the clusters, for the intervals.

    Raises:
        ValueError: lengths differ, a feature is not finite, no cell is asked about, or none has a neighbour outside of
            its group.
    """
    k = (k,) if isinstance(k, int) else tuple(k)
    cells = _cells(features, labels, groups, query, asked, also, clusters)
    _check(cells, k)
    single = _single_group_classes(cells.labels, cells.left_out)
    cells = _with_voters(_told_apart(cells, single) if drop_single_group_classes else cells)
    if standardise:
        shown = standardised(cells.asked, like=cells.features)
        cells = cells._replace(features=standardised(cells.features), asked=shown)
    return _benchmark(cells, single, k, resamples)


class _Cells(NamedTuple):
    """What is known of cells, in one order; `asked` has the features of those of `query`."""

    features: np.ndarray
    labels: np.ndarray
    left_out: list[np.ndarray]  # groups, and what else
    query: np.ndarray
    asked: np.ndarray
    clusters: np.ndarray


def _cells(
    features: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None,
    query: ArrayLike | None,
    asked: ArrayLike | None,
    also: ArrayLike | None,
    clusters: ArrayLike | None,
) -> _Cells:
    """What was given, as arrays; what was not, by what it defaults to."""
    cells = np.asarray(features, np.float32)
    groups = np.arange(len(cells)) if groups is None else np.asarray(groups)
    clusters = groups if clusters is None else np.asarray(clusters)
    query = np.ones(len(cells), bool) if query is None else np.asarray(query, bool)
    left_out = [groups] if also is None else [groups, np.asarray(also)]
    labels = np.asarray(labels).astype(str)
    if len(sizes := {len(each) for each in (cells, labels, *left_out, query, clusters)}) > 1:
        raise ValueError(f"features, labels, groups and query must be of the same cells, got lengths {sorted(sizes)}")
    shown = cells[query] if asked is None else np.asarray(asked, np.float32)
    return _Cells(cells, labels, left_out, query, shown, clusters)


def _told_apart(cells: _Cells, single_group_classes: np.ndarray) -> _Cells:
    """Without asking about the classes that occur in one group only."""
    kept = ~np.isin(cells.labels, single_group_classes)
    if not (cells.query & kept).any():
        raise ValueError("every class must occur in two groups to be told, none does; give cells of more groups")
    return cells._replace(query=cells.query & kept, asked=cells.asked[kept[cells.query]])


def _with_voters(cells: _Cells) -> _Cells:
    """The cells of the classes that are asked about."""
    votes = np.isin(cells.labels, cells.labels[cells.query])
    return _Cells(
        features=cells.features[votes],
        labels=cells.labels[votes],
        left_out=[each[votes] for each in cells.left_out],
        query=cells.query[votes],
        asked=cells.asked,
        clusters=cells.clusters[votes],
    )


def _benchmark(cells: _Cells, single_group_classes: np.ndarray, k: tuple[int, ...], resamples: int) -> Benchmark:
    features, labels, left_out, query, asked, clusters = cells
    classes, codes = np.unique(labels, return_inverse=True)
    found = nearest(features, *left_out, k=max(k), rows=np.flatnonzero(query), asked=asked)
    spread = functools.partial(balanced_accuracy.interval, codes[query], groups=clusters[query], resamples=resamples)
    told = {each: vote(found[:, :each], codes) for each in k}
    recall = {each: _recall(answers, codes[query]) for each, answers in told.items()}
    return Benchmark(
        balanced_accuracy={each: float(shares.mean()) for each, shares in recall.items()},
        recall=recall,
        interval={each: spread(answers) for each, answers in told.items()},
        chance={each: _chance(codes, left_out, query, each) for each in k},
        classes=tuple(classes.tolist()),
        counts=tuple(np.bincount(codes[query]).tolist()),
        groups=len(np.unique(left_out[0][query])),
        single_group_classes=tuple(single_group_classes.tolist()),
        n_voters=len(labels),
        n_incomplete=int((found[:, -1] < 0).sum()),
        truth=codes[query],
        told=told,
        clusters=clusters[query],
    )


def nearest(
    features: Float[Array, "n c"],
    groups: ArrayLike,
    also: ArrayLike | None = None,
    *,
    k: int,
    rows: Int[np.ndarray, " r"] | None = None,
    asked: Float[np.ndarray, "r c"] | None = None,
    block: int = _BLOCK,
) -> Int[np.ndarray, "r k"]:
    """The `k` nearest cells of other groups, nearest first; of equally near ones the first; −1 where there are fewer.

    One row for each of the cells `rows`, or for every cell. Cells that share `also` are left out too. Distances are
    those from `asked`, a row for each of `rows`, where it is given.

    Works on `block` × n distances at a time. These come from one matrix product, whose rounding could swap close
    rivals; a few candidates more than `k` are therefore ordered by their true distance.
    """
    rows = np.arange(len(features)) if rows is None else rows
    n, k = len(rows), min(k, len(features))
    block = min(block, n)
    origin = np.mean(features, axis=0, dtype=np.float32)
    cells = jnp.asarray(np.asarray(features, np.float32) - origin)
    shown = None if asked is None else np.asarray(asked, np.float32) - origin
    left_out = [groups] if also is None else [groups, also]
    codes = jnp.asarray([np.unique(np.asarray(each), return_inverse=True)[1] for each in left_out], jnp.int32)
    squares = jnp.square(cells).sum(1)
    found = np.empty((n, k), np.int32)
    for start in range(0, n, block):
        part = slice(min(start, n - block), min(start, n - block) + block)  # the last reaches back: one shape for all
        query = cells[rows[part]] if shown is None else shown[part]
        found[part] = _nearest(query, codes[:, rows[part]], cells, squares, codes, k=k)
    return found


@partial(jax.jit, static_argnames=("k",))
def _nearest(query: Array, own: Array, features: Array, squares: Array, codes: Array, *, k: int) -> Int[Array, "q k"]:
    """The neighbours of the cells `query`, whose codes are `own`."""
    rank = squares - 2 * jnp.matmul(query, features.T, precision=jax.lax.Precision.HIGHEST)  # distance² − own square
    rank = jnp.where((codes[:, None] == own[..., None]).any(0), jnp.inf, rank)
    candidates = jnp.sort(jax.lax.top_k(-rank, min(k + _SPARE, len(features)))[1])  # in order: the first wins a tie
    distance = jnp.square(features[candidates] - query[:, None]).sum(-1)
    distance = jnp.where((codes[:, candidates] == own[..., None]).any(0), jnp.inf, distance)
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


def _chance(codes: Int[np.ndarray, " n"], left_out: Sequence[np.ndarray], query: np.ndarray, k: int) -> float:
    """The balanced accuracy of the votes of `k` cells drawn at random from other groups, by many draws of one seed."""
    everything = np.bincount(codes)
    parts = [(np.unique(each, return_inverse=True)[1], -1) for each in left_out]
    if len(parts) > 1:  # cells that share both are left out once
        pairs = np.stack([part for part, _ in parts])
        parts.append((np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1), 1))
    own = parts[-1][0]
    tables = [list(_compositions(codes, part)) for part, _ in parts]
    voters: list[np.ndarray] = []
    kind_of = np.zeros(own.max() + 1, np.int64)  # groups of the same classes and counts share a kind
    kinds: dict[tuple[bytes, ...], int] = {}
    for group, cell in enumerate(np.unique(own, return_index=True)[1]):
        shares = [table[part[cell]] for table, (part, _) in zip(tables, parts, strict=True)]
        key = tuple(each.tobytes() for share in shares for each in share)
        if key not in kinds:
            kinds[key] = len(voters)
            others = everything.copy()
            for (classes, counts), (_, sign) in zip(shares, parts, strict=True):
                others[classes] += sign * counts
            voters.append(others)
        kind_of[group] = kinds[key]
    draws = int(np.clip(_VOTES * 5 // (len(voters) * len(everything)), 1, _DRAWS))
    told = np.stack([_drawn(others, k, draws) for others in voters])
    truth = codes[query]
    right, asked = np.bincount(truth, told[kind_of[own[query]], truth]), np.bincount(truth)
    return float((right[asked > 0] / asked[asked > 0]).mean())


def _compositions(codes: np.ndarray, group: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each group, in order, its classes and how many cells of each."""
    classes = int(codes.max()) + 1
    pairs, counts = np.unique(group.astype(np.int64) * classes + codes, return_counts=True)
    starts = np.searchsorted(pairs // classes, np.arange(group.max() + 2))
    for start, stop in itertools.pairwise(starts):
        yield pairs[start:stop] % classes, counts[start:stop]


def _drawn(counts: Int[np.ndarray, " classes"], k: int, draws: int) -> Float[np.ndarray, " classes"]:
    """How often `k` of so many cells of each class, drawn without putting back, tell a class."""
    rng = np.random.default_rng(0)
    votes = rng.multivariate_hypergeometric(counts, min(k, counts.sum()), draws, method="marginals")
    return np.bincount(votes.argmax(1), minlength=len(counts)) / draws


def _single_group_classes(labels: np.ndarray, left_out: Sequence[np.ndarray]) -> np.ndarray:
    """The classes all of whose cells share a group, or what else is left out with a cell."""
    single = []
    for groups in left_out:
        pairs = np.unique(np.stack([np.unique(each, return_inverse=True)[1] for each in (labels, groups)]), axis=1)
        single.append(np.unique(labels)[np.bincount(pairs[0]) == 1])
    return np.unique(np.concatenate(single))


def standardised(
    features: Float[np.ndarray, "n c"], *, like: Float[np.ndarray, "m c"] | None = None
) -> Float32[np.ndarray, "n c"]:
    """Every feature with mean 0 and standard deviation 1 over the cells (or those of `like`); constant ones 0."""
    by = features if like is None else like
    deviation = by.std(0, dtype=np.float64)
    mean = by.mean(0, dtype=np.float64)
    constant = deviation <= 1e-6 * np.abs(mean)  # what rounding leaves of a constant
    return ((features - mean) / np.where(constant, np.inf, deviation)).astype(np.float32)


def _check(cells: _Cells, k: Sequence[int]) -> None:
    features, _, left_out, query, asked, _ = cells
    if not query.any():
        raise ValueError("at least one cell must be asked about, got none; leave query out to ask for all")
    if not k or min(k) < 1:
        raise ValueError(f"every k must be at least 1, got {tuple(k)}; the published ones are {PUBLISHED_K}")
    if len(bad := np.flatnonzero(~np.isfinite(features).all(1))):
        raise ValueError(
            f"features must be finite, {len(bad)} cells' are not, first row {bad[0]}; leave these cells out"
        )
    if asked.shape != (expected := (int(query.sum()), features.shape[1])):
        raise ValueError(f"asked must have a row for each cell of query, {expected}, got {asked.shape}")
    if not np.isfinite(asked).all():
        raise ValueError("asked must be finite, it is not; leave such cells out of query")
    for groups in left_out:
        if len(np.unique(groups)) < 2:
            raise ValueError(
                f"neighbours must come from another group, got one group of {len(groups)} cells; add groups"
            )
