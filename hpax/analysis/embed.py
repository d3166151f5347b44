"""Cells and proteins on a plane or in space: UMAP with the settings of both papers, and of more cells than fit."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Int

from hpax import progress
from hpax.explore import scatter


@dataclasses.dataclass(frozen=True)
class Settings:
    """How UMAP lays out points; distances are Euclidean."""

    neighbours: int = 15
    min_dist: float = 0.01
    components: int = 3
    epochs: int | None = None  # None: UMAP's own choice, 200 or 500


LE_CELLS = Settings()
"""Cells in Le et al. (2022), but for their 100,000 epochs."""

LU_PROTEINS = Settings(neighbours=20, min_dist=0.3, components=2)
"""Means of proteins in Lu et al. (2019), Figure 3."""

"""Single yeast cells in Lu et al. (2019), Supplementary Figure 3."""


def umap(
    features: Float[np.ndarray, "n d"], settings: Settings = LE_CELLS, *, seed: int = 0, reference: int = 50_000
) -> Float32[np.ndarray, "n k"]:
    """The place of every row; the same seed gives the same places.

    Of more than `reference` rows so many are drawn and laid out, and the others placed among them, 20,000 at a time, so
    that time and memory grow with the rows by the second, cheaper step alone.

    Raises:
        ValueError: fewer than 5 rows, or features that are not finite.
    """
    features = scatter.checked(features)
    if len(features) <= reference:
        return np.asarray(_reducer(len(features), settings, seed).fit_transform(features), np.float32)
    drawn = reference_rows(len(features), reference, seed=seed)
    reducer = _reducer(reference, settings, seed)
    places = np.empty((len(features), settings.components), np.float32)
    places[drawn] = reducer.fit_transform(features[drawn])
    parts = list(_parts(np.setdiff1d(np.arange(len(features)), drawn), 20_000))
    with progress.shown("cells placed, by 20,000", len(parts)) as bar:
        for part in parts:
            places[part] = reducer.transform(features[part])
            bar.advance()
    return places


def reference_rows(rows: int, reference: int = 50_000, *, seed: int = 0) -> Int[np.ndarray, " r"]:
    """The rows that `umap` lays out, ascending; all where there are no more than `reference`."""
    return np.sort(np.random.default_rng(seed).choice(rows, min(reference, rows), replace=False))


def principal(features: Float[np.ndarray, "n d"], most: int = 50, *, seed: int = 0) -> Float32[np.ndarray, "n k"]:
    """The first principal components of standardised features, what distances are taken of; none adds to a distance
    what it would not without the others, so fewer mean less noise and less memory.

    Features that are the same in all rows are left out.
    """
    from sklearn.decomposition import PCA

    centred = features.astype(np.float32) - features.mean(0, dtype=np.float64).astype(np.float32)
    spread = centred.std(0)
    kept = spread > 1e-7
    count = min(most, int(kept.sum()), len(features))
    if count == 0:
        return np.zeros((len(features), 1), np.float32)
    found = PCA(count, svd_solver="covariance_eigh" if len(features) > kept.sum() else "full", random_state=seed)
    return np.asarray(found.fit_transform(centred[:, kept] / spread[kept]), np.float32)


def _reducer(rows: int, settings: Settings, seed: int) -> scatter.Reducer:
    return scatter.reducer(
        rows,
        seed=seed,
        neighbours=settings.neighbours,
        min_dist=settings.min_dist,
        components=settings.components,
        epochs=settings.epochs,
    )


def _parts(rows: Int[np.ndarray, " n"], size: int) -> Iterator[Int[np.ndarray, " k"]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
