"""How near images of one localisation lie in feature space, against images of other ones (Lu et al. 2019, Table 2).

The distance of two images is the mean Euclidean distance of the cells of one to those of the other, features
standardised. Pairs of images with one term are held against pairs with different terms: 0 is what chance gives, and the
more negative the better. An image is what `images` says, a protein in a cell line in the paper.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy.typing import ArrayLike

from hpax.metrics import bootstrap
from hpax.metrics.neighbours import standardised

Constraint = Literal["none", "same", "different"]

_BLOCK = 512  # cells whose distances to all others are in memory at once


@dataclasses.dataclass(frozen=True)
class PairwiseDistance:
    """The normalised distance, and what it rests on."""

    interval: bootstrap.Interval  # (same term − expectation) / expectation, and its spread over resamples of images
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
        constraint: whether the two images of a pair must be of one cell line, or of two.
        pairs: that are drawn, with repeats; None: as published, 1,000 for each term, or 10,000 with a constraint.
        resamples: of the images, for the interval: all pairs that these make, as if drawn without end.
        seed: of the draws.

    Raises:
        ValueError: lengths differ, or an image has two terms or lines.
        NoPair: (a ValueError) there is no pair to draw.
    """
    labels, images = np.asarray(labels).astype(str), np.asarray(images).astype(str)
    lines = np.full(len(labels), "") if cell_lines is None else np.asarray(cell_lines).astype(str)
    if constraint != "none" and cell_lines is None:
        raise ValueError(f"constraint {constraint!r} needs the cell line of each cell, got none; give cell_lines")
    if len(sizes := {len(features), len(labels), len(images), len(lines)}) > 1:
        raise ValueError(f"features, labels, images and cell_lines must be of the same cells, got {sorted(sizes)}")
    names, first, code = np.unique(images, return_index=True, return_inverse=True)
    for what, values in (("term", labels), ("cell line", lines)):
        if (mixed := values != values[first][code]).any():
            raise ValueError(f"an image must have one {what}, {images[mixed][0]!r} has two; split it or leave it out")
    between = image_distances(standardised(np.asarray(features, np.float32)), code)
    draw = _Draw(between, np.random.default_rng(seed), pairs or (1000 if constraint == "none" else 10_000))
    terms, line = labels[first], lines[first]
    if constraint == "none":
        by_term, count = _each_term(draw, terms)
        value, own_terms = float(np.mean(list(by_term.values()))), len(by_term)
        drawn = _resampled_terms(between, terms, resamples, seed)
    else:
        allowed = (line[:, None] == line) == (constraint == "same")
        same = (terms[:, None] == terms) & allowed & ~np.eye(len(names), dtype=bool)
        other = (terms[:, None] != terms) & allowed
        expected = draw(np.argwhere(other), f"images of different terms and {constraint} cell lines")
        value = draw(np.argwhere(same), f"images of one term and {constraint} cell lines") / expected - 1
        drawn = _resampled_pairs(between, same, other, resamples, seed)
        by_term, count, own_terms = {}, int(same.sum()) // 2, len(np.unique(terms[same.any(1)]))
    return PairwiseDistance(bootstrap.interval(value, drawn), by_term, own_terms, len(names), count)


def _resampled_terms(between: np.ndarray, terms: np.ndarray, resamples: int, seed: int) -> Float64[np.ndarray, " r"]:
    """The mean over terms of all pairs' normalised distance, in resamples of the images; NaN where none is defined."""
    member = (terms[:, None] == np.unique(terms)).astype(float)
    apart, drawn = 1 - np.eye(len(terms)), []
    for weight in _weights(len(terms), resamples, seed):
        own = weight[:, None] * member
        sums, counts = own.T @ (between * apart) @ own, own.T @ apart @ own
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        same = means.diagonal().copy()
        np.fill_diagonal(means, np.nan)
        known = ~np.isnan(same) & (~np.isnan(means)).any(1)
        drawn.append((same[known] / np.nanmean(means[known], 1) - 1).mean() if known.any() else np.nan)
    return np.array(drawn)


def _resampled_pairs(
    between: np.ndarray, same: np.ndarray, other: np.ndarray, resamples: int, seed: int
) -> Float64[np.ndarray, " r"]:
    """Pairs of one term against pairs of two, in resamples of the images; NaN where a resample lacks either."""
    drawn = []
    for weight in _weights(len(between), resamples, seed):
        means = []
        for pairs in (same, other):
            count = weight @ pairs @ weight
            means.append(weight @ (between * pairs) @ weight / count if count else np.nan)
        drawn.append(means[0] / means[1] - 1)
    return np.array(drawn)


def _weights(images: int, resamples: int, seed: int) -> Float64[np.ndarray, "r i"]:
    """How often each image is in each resample."""
    generator = np.random.default_rng((seed, 1))
    return generator.multinomial(images, np.full(images, 1 / images), resamples).astype(float)


def _each_term(draw: "_Draw", terms: np.ndarray) -> tuple[dict[str, float], int]:
    """Term → its normalised distance, of terms with two images; and the distinct pairs of one term."""
    places: dict[str, np.ndarray] = {str(name): np.flatnonzero(terms == name) for name in np.unique(terms)}
    by_term, count = {}, 0
    for name, own in places.items():
        if len(own) < 2:
            continue
        others = [_product(own, places[other]) for other in places if other != name]
        expected = np.mean([draw(each, "images of two terms") for each in others]) if others else np.nan
        same = _product(own, own)
        same = same[same[:, 0] != same[:, 1]]
        by_term[name] = float(draw(same, f"images of {name}") / expected - 1)
        count += len(same) // 2
    if not by_term or len(places) < 2:
        raise NoPair("a term must have two images and another term one, none has; give more images")
    return by_term, count


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
