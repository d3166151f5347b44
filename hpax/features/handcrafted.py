"""Classic features of cells: intensity, correlation and texture of the protein (Lu et al. 2019, Methods)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from skimage.feature import graycomatrix

from hpax import atlas
from hpax.types import Array

SCALES = (1, 2, 4, 8, 16)  # pixels between the two of a pair
LEVELS = 32  # grey levels
DIRECTIONS = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
INTENSITY = ("sum", "mean", "sd")
HARALICK = (
    "angular_second_moment",
    "contrast",
    "correlation",
    "variance",
    "inverse_difference_moment",
    "sum_average",
    "sum_variance",
    "sum_entropy",
    "entropy",
    "difference_variance",
    "difference_entropy",
    "information_1",
    "information_2",
)
"""The thirteen features of Haralick et al. (1973, appendix I) in their order."""


def names(channels: Sequence[str] = atlas.CHANNELS) -> tuple[str, ...]:
    """The name of each feature of cells with these channels, the protein first."""
    correlations = tuple(f"correlation_{marker}" for marker in channels[1:])
    return INTENSITY + correlations + tuple(f"{name}_{scale}" for scale in SCALES for name in HARALICK)


def encode(images: Float[Array, "b h w c"]) -> dict[str, Float[np.ndarray, "b k"]]:
    """One layer, "classic", of the features `names`; an encoder for `hpax.features.extract`.

    Args:
        images: in [0, 1], channels as in `atlas.CHANNELS`, of which the markers may be fewer.
    """
    return {"classic": np.stack([_features(np.asarray(image, np.float64)) for image in images])}


def _features(image: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, " k"]:
    protein = image[..., 0]
    intensity = [protein.sum(), protein.mean(), protein.std()]
    correlations = [correlation(protein, marker) for marker in np.moveaxis(image[..., atlas.STRUCTURE], -1, 0)]
    return np.concatenate([intensity, correlations, haralick(protein).ravel()])


def correlation(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Pearson's correlation; 0 where one of the two is constant."""
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt((a * a).sum() * (b * b).sum())
    return (a * b).sum() / spread if spread > 1e-12 else 0.0


def haralick(image: Float[np.ndarray, "h w"], scales: Sequence[int] = SCALES) -> Float[np.ndarray, "scales 13"]:
    """The texture of an image in [0, 1] at some scales: `HARALICK`, each the mean over the directions that fit.

    Values outside of [0, 1] count as its ends. A scale that fits in no direction gives zeros.
    """
    grey = np.clip(image * LEVELS, 0, LEVELS - 1).astype(np.uint8)
    pairs = graycomatrix(grey, scales, DIRECTIONS, levels=LEVELS, symmetric=True, normed=True)
    matrices = np.moveaxis(pairs, (0, 1), (2, 3))  # scales, directions, levels, levels
    fits = matrices.any((2, 3))[..., None]
    return (_haralick(matrices) * fits).sum(1) / np.maximum(fits.sum(1), 1)


def _haralick(p: Float[np.ndarray, "*many n n"]) -> Float[np.ndarray, "*many 13"]:
    """The features of symmetric co-occurrence matrices; natural logarithms, and 0 for the correlation of one level."""
    level = np.arange(p.shape[-1])
    margin = p.sum(-1)
    mean = margin @ level
    variance = margin @ level**2 - mean**2
    sums = _binned(p, level[:, None] + level)  # the distribution of i + j
    differences = _binned(p, abs(level[:, None] - level))  # and of |i − j|
    k, d = np.arange(sums.shape[-1]), level
    covariance = (p * np.outer(level, level)).sum((-2, -1)) - mean**2
    entropy, margin_entropy = _entropy(p, 2), _entropy(margin, 1)
    independent = 2 * margin_entropy  # of a matrix whose two pixels ignore each other
    return np.stack(
        [
            (p * p).sum((-2, -1)),
            differences @ d**2,
            np.where(variance > 1e-12, covariance / np.where(variance > 1e-12, variance, 1), 0),
            variance,
            differences @ (1 / (1 + d**2)),
            sums @ k,
            sums @ k**2 - (sums @ k) ** 2,
            _entropy(sums, 1),
            entropy,
            differences @ d**2 - (differences @ d) ** 2,
            _entropy(differences, 1),
            np.where(
                margin_entropy > 1e-12, (entropy - independent) / np.where(margin_entropy > 1e-12, margin_entropy, 1), 0
            ),
            np.sqrt(1 - np.exp(-2 * np.maximum(independent - entropy, 0))),
        ],
        axis=-1,
    )


def _binned(p: Float[np.ndarray, "*many n n"], bins: Integer[np.ndarray, "n n"]) -> Float[np.ndarray, "*many bins"]:
    """The mass of each matrix in each bin."""
    member = np.equal.outer(bins.ravel(), np.arange(bins.max() + 1)).astype(p.dtype)
    return p.reshape(*p.shape[:-2], -1) @ member


def _entropy(p: Float[np.ndarray, "..."], axes: int) -> Float[np.ndarray, "..."]:
    """Of distributions over the last `axes` axes, in nats."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(tuple(range(-axes, 0)))
