"""How near images of one localisation lie in feature space, against images of other ones (Lu et al. 2019, Table 2).

The distance of two images is the mean Euclidean distance of the cells of one to those of the other, features
standardised. Pairs of images with one term are held against pairs with different terms: 0 is what chance gives, and the
more negative the better. An image is what `images` says, a protein in a cell line in the paper. Images of one group,
such as a protein, share plate and antibody and are no pair, so that a protein is not held against itself.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped
from numpy.typing import ArrayLike

from hpax.metrics import bootstrap
from hpax.metrics.neighbours import standardised

Constraint = Literal["none", "same", "different"]

_BLOCK = 512  # cells whose distances to all others are in memory at once


@dataclasses.dataclass(frozen=True)
class PairwiseDistance:
    """The normalised distance, and what it rests on."""

    interval: bootstrap.Interval  # (same term − expectation) / expectation, and its spread over resamples of groups
    by_term: Mapping[str, float]  # without a constraint; empty with one, which pools all terms
    terms: int
    images: int
    pairs: int  # distinct pairs of images of one term that there are to draw from

    @property
    def value(self) -> float:
        """The normalised distance."""
        return self.interval.value


class NoPair(ValueError):
    """There are no two images that a pair could be drawn from."""


def distance(
    features: Float[np.ndarray, "n c"],
    labels: ArrayLike,
    images: ArrayLike,
    cell_lines: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    constraint: Constraint = "none",
    pairs: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> PairwiseDistance:
    """The normalised average pairwise distance, by the published sampling.

    Without a constraint, for each term `pairs` pairs of its images are held against `pairs` pairs with each other term,
    and terms are averaged. With "same" or "different" cell lines, too few images are left for that, so pairs of any one
    term are held against pairs of any two. So numbers with and without a constraint cannot be compared.

    Args:
        features: one row per cell, finite.
        labels: the single term of each cell; cells of one image share it.
        images: the image of each cell.
        cell_lines: of each cell; needed for a constraint.
        groups: of each cell, what no pair is drawn within, such as its protein; those that share an image are one.
            None: each image by itself.
        constraint: whether the two images of a pair must be of one cell line, or of two.
        pairs: that are drawn, with repeats; None: as published, 1,000 for each term, or 10,000 with a constraint.
        resamples: of the groups, for the interval: all pairs that these make, as if drawn without end.
        seed: of the draws.

    Raises:
        ValueError: lengths differ, or an image has two terms or lines.
        NoPair: (a ValueError) there is no pair to draw.
    """
    lines = np.full(len(features), "") if cell_lines is None else np.asarray(cell_lines).astype(str)
    if constraint != "none" and cell_lines is None:
        raise ValueError(f"constraint {constraint!r} needs the cell line of each cell, got none; give cell_lines")
    known = _images(np.asarray(labels).astype(str), np.asarray(images).astype(str), lines, groups)
    if len(known.code) != len(features):
        raise ValueError(f"features and images must be of the same cells, got {len(features)} and {len(known.code)}")
    between = image_distances(standardised(np.asarray(features, np.float32)), known.code)
    return _distance(between, known, constraint, pairs, resamples, seed)


class _Images(NamedTuple):
    """What is known of images."""

    code: Int[np.ndarray, " n"]  # the image of each cell
    terms: Shaped[np.ndarray, " i"]
    lines: Shaped[np.ndarray, " i"]
    kin: Int[np.ndarray, " i"]  # images of one number are no pair

    @property
    def apart(self) -> Bool[np.ndarray, "i i"]:
        """The pairs of images."""
        return self.kin[:, None] != self.kin


def _images(labels: np.ndarray, images: np.ndarray, lines: np.ndarray, groups: ArrayLike | None) -> _Images:
    own = images if groups is None else np.asarray(groups).astype(str)
    if len(sizes := {len(labels), len(images), len(lines), len(own)}) > 1:
        raise ValueError(f"labels, images, cell_lines and groups must be of the same cells, got {sorted(sizes)}")
    names, first, code = np.unique(images, return_index=True, return_inverse=True)
    for what, values in (("term", labels), ("cell line", lines)):
        if (mixed := values != values[first][code]).any():
            raise ValueError(f"an image must have one {what}, {images[mixed][0]!r} has two; split it or leave it out")
    return _Images(code, labels[first], lines[first], np.arange(len(names)) if groups is None else _kin(code, own))


def _kin(code: Int[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " i"]:
    """A number for each image; images that share a group have one, however many groups an image has."""
    import scipy.sparse.csgraph  # here, as it is slow to import

    count = int(code.max()) + 1
    own = count + np.unique(groups, return_inverse=True)[1]
    size = int(own.max()) + 1
    links = scipy.sparse.coo_array((np.ones(len(code)), (code, own)), shape=(size, size))
    parts = scipy.sparse.csgraph.connected_components(links, directed=False)[1]
    return np.unique(parts[:count], return_inverse=True)[1]


def distances(
    features: Float[np.ndarray, "n c"],
    labels: ArrayLike,
    images: ArrayLike,
    cell_lines: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> dict[Constraint, PairwiseDistance]:
    """`distance` by every constraint that there is a pair for, from one table of distances of images."""
    lines = np.full(len(features), "") if cell_lines is None else np.asarray(cell_lines).astype(str)
    known = _images(np.asarray(labels).astype(str), np.asarray(images).astype(str), lines, groups)
    between = image_distances(standardised(np.asarray(features, np.float32)), known.code)
    constraints: tuple[Constraint, ...] = ("none",) if cell_lines is None else ("none", "same", "different")
    found = {}
    for constraint in constraints:
        with contextlib.suppress(NoPair):
            found[constraint] = _distance(between, known, constraint, None, 1000, seed)
    return found


def _distance(
    between: Float64[np.ndarray, "i i"],
    known: _Images,
    constraint: Constraint,
    pairs: int | None,
    resamples: int,
    seed: int,
) -> PairwiseDistance:
    draw = _Draw(between, np.random.default_rng(seed), pairs or (1000 if constraint == "none" else 10_000))
    terms, weights = known.terms, _weights(known.kin, resamples, seed)
    if constraint == "none":
        by_term, count = _each_term(draw, terms, known.kin)
        value, own_terms = float(np.mean(list(by_term.values()))), len(by_term)
        drawn = _resampled_terms(between, terms, known.apart, weights)
    else:
        allowed = ((known.lines[:, None] == known.lines) == (constraint == "same")) & known.apart
        same, other = (terms[:, None] == terms) & allowed, (terms[:, None] != terms) & allowed
        expected = draw(np.argwhere(other), f"images of different terms and {constraint} cell lines")
        value = draw(np.argwhere(same), f"images of one term and {constraint} cell lines") / expected - 1
        drawn = _resampled_pairs(between, same, other, weights)
        by_term, count, own_terms = {}, int(same.sum()) // 2, len(np.unique(terms[same.any(1)]))
    return PairwiseDistance(bootstrap.interval(value, drawn), by_term, own_terms, len(terms), count)


def _resampled_terms(
    between: np.ndarray, terms: np.ndarray, apart: Bool[np.ndarray, "i i"], weights: Float64[np.ndarray, "r i"]
) -> Float64[np.ndarray, " r"]:
    """The mean over terms of all pairs' normalised distance, in resamples of the images; NaN where none is defined."""
    member = (terms[:, None] == np.unique(terms)).astype(float)
    pairs, drawn = apart.astype(float), []
    far = between * pairs
    for weight in weights:
        own = weight[:, None] * member
        sums, counts = own.T @ far @ own, own.T @ pairs @ own
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        same = means.diagonal().copy()
        np.fill_diagonal(means, np.nan)
        known = ~np.isnan(same) & (~np.isnan(means)).any(1)
        drawn.append((same[known] / np.nanmean(means[known], 1) - 1).mean() if known.any() else np.nan)
    return np.array(drawn)


def _resampled_pairs(
    between: np.ndarray, same: np.ndarray, other: np.ndarray, weights: Float64[np.ndarray, "r i"]
) -> Float64[np.ndarray, " r"]:
    """Pairs of one term against pairs of two, in resamples of the images; NaN where a resample lacks either."""
    means = []
    for pairs in (same.astype(float), other.astype(float)):
        counts = ((weights @ pairs) * weights).sum(1)
        sums = ((weights @ (between * pairs)) * weights).sum(1)
        means.append(np.divide(sums, counts, out=np.full(len(weights), np.nan), where=counts > 0))
    return means[0] / means[1] - 1


def _weights(kin: Int[np.ndarray, " i"], resamples: int, seed: int) -> Float64[np.ndarray, "r i"]:
    """How often each image is in each resample, which draws images of one number together."""
    generator = np.random.default_rng((seed, 1))
    count = int(kin.max()) + 1
    return generator.multinomial(count, np.full(count, 1 / count), resamples)[:, kin].astype(float)


def _each_term(draw: "_Draw", terms: np.ndarray, kin: Int[np.ndarray, " i"]) -> tuple[dict[str, float], int]:
    """Term → its normalised distance, of terms with a pair; and the distinct pairs of one term."""
    places: dict[str, np.ndarray] = {str(name): np.flatnonzero(terms == name) for name in np.unique(terms)}
    by_term, count = {}, 0
    for name, own in places.items():
        same = _apart(_product(own, own), kin)
        if not len(same):
            continue
        others = [_apart(_product(own, places[other]), kin) for other in places if other != name]
        expected = [draw(each, "images of two terms") for each in others if len(each)]
        if expected:
            by_term[name] = float(draw(same, f"images of {name}") / np.mean(expected) - 1)
            count += len(same) // 2
    if not by_term:
        raise NoPair("a term must have two images of two groups and another term one, none has; give more images")
    return by_term, count


def _apart(pairs: Int[np.ndarray, "p 2"], kin: Int[np.ndarray, " i"]) -> Int[np.ndarray, "q 2"]:
    """The pairs of images of different groups."""
    return pairs[kin[pairs[:, 0]] != kin[pairs[:, 1]]]


def _product(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " m"]) -> Int[np.ndarray, "nm 2"]:
    return np.stack([np.repeat(a, len(b)), np.tile(b, len(a))], axis=1)


@dataclasses.dataclass(frozen=True)
class _Draw:
    """The mean distance of pairs drawn with repeats."""

    between: Float64[np.ndarray, "i i"]
    rng: np.random.Generator
    count: int

    def __call__(self, pairs: Int[np.ndarray, "p 2"], what: str) -> float:
        if not len(pairs):
            raise NoPair(f"there must be a pair of {what}, there is none; give cells of more images")
        chosen = pairs[self.rng.integers(0, len(pairs), self.count)]
        return float(self.between[chosen[:, 0], chosen[:, 1]].mean())


def image_distances(features: Float[np.ndarray, "n c"], code: Int[np.ndarray, " n"]) -> Float64[np.ndarray, "i i"]:
    """The mean Euclidean distance of the cells of each image to those of each other one; `code` numbers images."""
    counts = np.bincount(code)
    order = np.argsort(code, kind="stable")
    features, starts = np.asarray(features, np.float64)[order], np.cumsum(counts) - counts
    squares = np.square(features).sum(1)
    sums = np.zeros((len(counts), len(counts)))
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        squared = squares[part, None] + squares - 2 * features[part] @ features.T
        by_image = np.add.reduceat(np.sqrt(np.maximum(squared, 0)), starts, axis=1)
        np.add.at(sums, code[order][part], by_image)
    return sums / np.outer(counts, counts)
