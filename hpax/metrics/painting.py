"""Whether a painted protein follows the source cell, or what else the network could have read it from.

The control of Lu et al. (2019, Supplementary Figure 1) as a number: source and target are of proteins in different
places. A network that paints the source's place in the target's shape has learnt from the source; one that paints the
target's own protein has read it off the target's markers (bleed-through), or knows its cells by heart.
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from hpax.metrics import bootstrap


@dataclasses.dataclass(frozen=True)
class Following:
    """Pearson correlations over pixels, means over pairs, with intervals over resamples of groups."""

    source: bootstrap.Interval  # with the protein as it would be in the target were it where the source's is
    own: bootstrap.Interval  # with the target's own protein
    source_alone: bootstrap.Interval  # with the first, once what the second explains is taken out of both
    own_alone: bootstrap.Interval  # with the second, likewise: what bleed-through and memory buy
    follows: bootstrap.Interval  # share of pairs whose painted protein is nearer to the source's place
    pairs: int
    groups: int


def following(
    painted: Float[np.ndarray, "n h w"],
    source: Float[np.ndarray, "n h w"],
    own: Float[np.ndarray, "n h w"],
    groups: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Following:
    """How painted proteins correlate with the source's place and with the target's own protein, in the target.

    Args:
        painted: what a network painted for each mismatched pair.
        source: the truth had the target the source's protein.
        own: the target's own protein.
        groups: what shares its fate in resamples, such as the target's protein.
        resamples: of groups.
        seed: of these.

    Raises:
        ValueError: there is no pair, or a number is not finite.
    """
    if not len(painted) or not all(np.isfinite(each).all() for each in (painted, source, own)):
        raise ValueError(
            f"painted, source and own must be finite images of pairs, got {len(painted)} pairs; check them"
        )
    flat = [_centred(each) for each in (painted, source, own)]
    to_source, to_own, between = (_correlation(flat[a], flat[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    columns = {
        "source": to_source,
        "own": to_own,
        "source_alone": _partial(to_source, to_own, between),
        "own_alone": _partial(to_own, to_source, between),
        "follows": (to_source > to_own).astype(float),
    }
    code = np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(code.max()) + 1
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    sizes, intervals = times @ np.bincount(code), {}
    for name, values in columns.items():
        drawn = times @ np.bincount(code, values) / np.maximum(sizes, 1)
        intervals[name] = bootstrap.interval(float(values.mean()), drawn)
    return Following(**intervals, pairs=len(painted), groups=count)


def _centred(images: np.ndarray) -> Float[np.ndarray, "n p"]:
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    return flat - flat.mean(1, keepdims=True)


def _correlation(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " n"]:
    """Pearson's; 0 where one of the two is constant."""
    norm = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), norm, out=np.zeros(len(a)), where=norm > 1e-12)


def _partial(first: np.ndarray, second: np.ndarray, between: np.ndarray) -> Float[np.ndarray, " n"]:
    """The correlation with one thing, given another: `between` is that of the two."""
    norm = np.sqrt(np.maximum((1 - second**2) * (1 - between**2), 0))
    return np.divide(first - second * between, norm, out=np.zeros(len(first)), where=norm > 1e-9)
