"""Features on a plane: a seeded UMAP, and its points coloured by label."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from matplotlib.axes import Axes

from hpax.explore import charts

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Seven that colour-blind readers tell apart (Okabe and Ito 2008)."""

SHAPES = "o^s"
"""The first seven labels are circles, the next seven triangles, then squares."""


@runtime_checkable
class Reducer(Protocol):
    """What UMAP offers: places of rows, and of further rows among them."""

    def fit_transform(self, features: Any) -> np.ndarray:
        """The places of rows."""

    def transform(self, features: Any) -> np.ndarray:
        """The places of further rows."""


def embed(
    features: Float[np.ndarray, "n d"], *, seed: int, neighbours: int = 20, min_dist: float = 0.3
) -> Float[np.ndarray, "n 2"]:
    """UMAP by Euclidean distance, as Lu et al. (2019) ran it; the same seed gives the same points.

    Scale the features before. The first call of a process compiles for tens of seconds. One thread, as UMAP is
    reproducible only so. Fewer than `neighbours` + 1 points take as many neighbours as there are.

    Raises:
        ValueError: fewer than 5 points, or features that are not finite.
    """
    return reducer(len(checked(features)), seed=seed, neighbours=neighbours, min_dist=min_dist).fit_transform(features)


def checked(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The features, if UMAP can be made of them.

    Raises:
        ValueError: fewer than 5 points, or features that are not finite.
    """
    if len(features) < 5 or not np.isfinite(features).all():
        raise ValueError(f"UMAP needs 5 or more points of finite features, got {len(features)}; add or mend some")
    return features


def reducer(
    rows: int, *, seed: int, neighbours: int = 20, min_dist: float = 0.3, components: int = 2, epochs: int | None = None
) -> Reducer:
    """UMAP for so many rows, before it is fitted; hpax.analysis.embed has the settings of the papers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        import umap  # here, as it takes seconds
    return umap.UMAP(
        n_neighbors=min(neighbours, rows - 1),
        min_dist=min_dist,
        n_components=components,
        n_epochs=epochs,
        metric="euclidean",
        init="spectral" if rows > components + 2 else "random",
        random_state=seed,
        n_jobs=1,
    )


def scatter(
    points: Float[np.ndarray, "n 2"], labels: Sequence[str] | np.ndarray, *, title: str = "", most: int = 20
) -> UInt8[np.ndarray, "height width 3"]:
    """Points in the colour and shape of their label, rare labels on top; the legend says how many each has.

    Labels beyond the `most` frequent are grey and share one entry. A label's look follows its alphabetical place, so
    pictures of the same labels agree.

    Raises:
        ValueError: as many labels as points are needed.
    """
    if len(points) != len(labels):
        raise ValueError(f"each point needs one label, got {len(points)} points and {len(labels)} labels")
    names = np.asarray(labels, dtype=str)
    return charts.drawn(lambda axes: paint(axes, points, names, most=most), title=title, width=8.5, height=5.5)


def paint(axes: Axes, points: Float[np.ndarray, "n 2"], names: Shaped[np.ndarray, " n"], *, most: int = 20) -> None:
    """Draws what `scatter` is a picture of."""
    counts = sorted(Counter(names.tolist()).items(), key=lambda item: (-item[1], item[0]))
    shown = sorted(name for name, _ in counts[:most])
    for name, count in counts[:most]:
        place, cloud = shown.index(name), points[names == name]
        colour, marker = COLOURS[place % len(COLOURS)], SHAPES[place // len(COLOURS) % len(SHAPES)]
        text = f"{name} ({count})"
        axes.scatter(cloud[:, 0], cloud[:, 1], s=14, label=text, linewidths=0, color=colour, marker=marker)
    if (rest := ~np.isin(names, shown)).any():
        text = f"{len(counts) - len(shown)} others ({rest.sum()})"
        axes.scatter(points[rest, 0], points[rest, 1], s=10, color="0.75", zorder=0, label=text, linewidths=0)
    axes.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, markerscale=1.5)
