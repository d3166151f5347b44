"""What a field's and its cells' predictions say together: products, means, weights of cells, and the class Negative.

Probabilities are (k cells, n classes), of a field (n,); every function keeps them within 0 and 1.

    cells = combine.ensemble([combine.product(field, cells), combine.weighted_mean(field, cells, share=0.1)])
    cells = combine.negative_excludes(cells)
    cells = combine.weighted(cells, borders.weights(borders.cell_properties(masks, um_per_pixel)))
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from hpax import atlas

Probabilities = Float[np.ndarray, "k n"]


def product(field: Float[np.ndarray, " n"], cells: Probabilities) -> Probabilities:
    """Image × cell: a class needs both."""
    return field * cells


def weighted_mean(field: Float[np.ndarray, " n"], cells: Probabilities, *, share: float = 0.5) -> Probabilities:
    """The mean in which the field counts `share` and the cell the rest."""
    return share * field + (1 - share) * cells


def ensemble(
    predictions: Sequence[Float[np.ndarray, "*k n"]], weights: Sequence[float] | None = None
) -> Float[np.ndarray, "*k n"]:
    """The weighted mean of several models' or checkpoints' predictions; without weights they count the same.

    Raises:
        ValueError: no prediction, another number of weights, or weights that are negative or all 0.
    """
    scales = np.ones(len(predictions)) if weights is None else np.asarray(weights, np.float64)
    if not len(predictions) or len(scales) != len(predictions) or (scales < 0).any() or not scales.sum() > 0:
        told = f"{len(predictions)} predictions and weights {scales.tolist()}"
        raise ValueError(f"every prediction must have a weight of 0 or more, not all 0, got {told}; drop some or add")
    shares = scales / scales.sum()
    return sum(share * prediction for share, prediction in zip(shares, predictions, strict=True))


def fuse(field: Float[np.ndarray, " n"], cells: Sequence[Probabilities]) -> Probabilities:
    """The mean in which the field counts half, and maps (`cams.cell_probabilities`) and crops of a cell the rest.

    Chosen among sums and products of the three on simulated atlas 0, which no reported number rests on.
    """
    return weighted_mean(field, ensemble(cells))


def negative_excludes(probabilities: Float[np.ndarray, "*k 19"]) -> Float[np.ndarray, "*k 19"]:
    """Every other class times the probability that the cell is not negative."""
    found = probabilities * (1 - probabilities[..., [atlas.NEGATIVE]])
    found[..., atlas.NEGATIVE] = probabilities[..., atlas.NEGATIVE]
    return found


def negative_as_complement(probabilities: Float[np.ndarray, "*k 19"]) -> Float[np.ndarray, "*k 19"]:
    """Negative as what the surest other class leaves: its own prediction is not used."""
    found = probabilities.copy()
    found[..., atlas.NEGATIVE] = 1 - np.delete(probabilities, atlas.NEGATIVE, axis=-1).max(-1)
    return found


def weighted(probabilities: Probabilities, weights: Float[np.ndarray, " k"] | Bool[np.ndarray, " k"]) -> Probabilities:
    """Every cell's probabilities times its weight within 0 and 1: they rank cells, and are none any more.

    Such weights are `segment.borders.weights`, `has_nucleus` and `half_there`, and those that are not `outlying`.
    """
    return probabilities * weights[:, None]


def outlying(cells: pd.DataFrame, *, factor: float = 4.0) -> Bool[np.ndarray, " k"]:
    """Cells of `borders.cell_properties` that are likely no single cell: without a nucleus, or `factor` times off the
    median area of the field. A small cell at the border is none of them.
    """
    size, inner = cells["relative_size"].to_numpy(np.float64), ~cells["touches_border"].to_numpy(bool)
    bare = cells["nucleus_area_um2"].to_numpy(np.float64) == 0
    return bare | (size > factor) | (inner & (size < 1 / factor))
