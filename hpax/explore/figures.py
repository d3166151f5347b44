"""Figures as in the papers, each left as PNG and as SVG, drawn off screen."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from hpax import files
from hpax.explore import scatter
from hpax.explore.charts import DPI

BLACK_TO_YELLOW = LinearSegmentedColormap.from_list("blue yellow", ["#3060ff", "#000000", "#ffe000"])
"""Below the mean blue, above it yellow, as in Lu et al. (2019), Figure 4; told apart by all eyes."""


def save(path: Path, paint: Callable[[Axes], None], *, width: float = 7.0, height: float = 5.0) -> list[Path]:
    """What `paint` draws on fresh axes as `path`.png and `path`.svg, in inches; the same input gives the same bytes."""
    style: dict[Any, Any] = {"svg.hashsalt": "hpax", "svg.fonttype": "none"}
    with matplotlib.style.context("default"), matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure.add_subplot())
        paths = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
        for each in paths:
            each.parent.mkdir(parents=True, exist_ok=True)
            undated = {"Date": None} if each.suffix == ".svg" else None
            with files.replacing(each) as draft:
                figure.savefig(draft, format=each.suffix[1:], metadata=undated)
    return paths


def points(places: Float[np.ndarray, "n 2"], labels: Sequence[str] | np.ndarray) -> Callable[[Axes], None]:
    """Points in the colour and shape of their label, as `scatter.scatter` has them."""

    def paint(axes: Axes) -> None:
        scatter.paint(axes, np.asarray(places), np.asarray(labels, dtype=str))

    return paint


def heat_map(
    values: Float[np.ndarray, "p d"], order: Int[np.ndarray, " p"], clusters: Int[np.ndarray, " p"]
) -> Callable[[Axes], None]:
    """Rows in the order of their tree, clusters beside them as grey and black bars (Lu et al. 2019, Figure 4)."""

    def paint(axes: Axes) -> None:
        rows = np.argsort(order)
        image = axes.imshow(values[rows], aspect="auto", cmap=BLACK_TO_YELLOW, vmin=-2, vmax=2, interpolation="none")
        axes.figure.colorbar(image, ax=axes, label="standard deviations from the mean", shrink=0.6)
        ordered = clusters[rows]
        starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True)):
            colour = "0.1" if number % 2 else "0.6"
            axes.axhspan(start - 0.5, end - 0.5, xmin=1.0, xmax=1.02, color=colour, clip_on=False)
        axes.set(xlabel="principal components of features", ylabel=f"{len(rows)} proteins", xticks=[], yticks=[])

    return paint


def violins(groups: Mapping[str, Float[np.ndarray, " _"]], *, up: str) -> Callable[[Axes], None]:
    """The distribution of each group with its quartiles (Lu et al., Figure 5)."""

    def paint(axes: Axes) -> None:
        shown = {name: values for name, values in groups.items() if len(values) > 1 and np.ptp(values) > 0}
        if shown:
            axes.violinplot(list(shown.values()), showextrema=False, quantiles=[[0.25, 0.5, 0.75]] * len(shown))
        for place, values in enumerate(shown.values(), 1):
            jitter = np.linspace(-0.08, 0.08, len(values))
            axes.plot(place + jitter, values, ".", color="0.2", markersize=2, alpha=0.5)
        names = [f"{name} ({len(values)})" for name, values in shown.items()]
        axes.set_xticks(range(1, len(names) + 1), names, rotation=30, ha="right", fontsize=8)
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set(ylabel=up)

    return paint


def intervals(
    names: Sequence[str],
    values: Float[np.ndarray, " n"],
    low: Float[np.ndarray, " n"],
    high: Float[np.ndarray, " n"],
    *,
    across: str,
) -> Callable[[Axes], None]:
    """Named values with their intervals, the first at the top."""

    def paint(axes: Axes) -> None:
        places = -np.arange(len(names))
        errors = np.stack([np.maximum(values - low, 0), np.maximum(high - values, 0)])
        axes.errorbar(values, places, xerr=errors, fmt="o", markersize=4, color=scatter.COLOURS[0], capsize=2)
        axes.set_yticks(places, list(names), fontsize=7)
        axes.axvline(1, color="0.6", linewidth=0.8)
        axes.set(xlabel=across)

    return paint


def dendrogram(
    linkage: Float[np.ndarray, "m 4"], branches: Sequence[UInt8[np.ndarray, "_ _ _ 3"]]
) -> Callable[[Axes], None]:
    """A tree of cells, and below it the crops of each branch, from left to right (Lu et al., Figure 6)."""

    def paint(axes: Axes) -> None:
        from scipy.cluster import hierarchy

        with matplotlib.rc_context({"lines.linewidth": 0.8}):
            hierarchy.dendrogram(linkage, ax=axes, no_labels=True, color_threshold=0, above_threshold_color="0.2")
        axes.set(ylabel="distance")
        for place, crops in enumerate(branches):
            inset = axes.inset_axes((place / len(branches), -0.42, 0.94 / len(branches), 0.4))
            inset.imshow(np.concatenate(list(crops), axis=0) if len(crops) else np.zeros((1, 1, 3), np.uint8))
            inset.set_axis_off()

    return paint


def bars(names: Sequence[str], values: Sequence[float], *, across: str) -> Callable[[Axes], None]:
    """Named bars, the first at the top."""

    def paint(axes: Axes) -> None:
        axes.barh(-np.arange(len(names)), list(values), color=scatter.COLOURS[0])
        axes.set_yticks(-np.arange(len(names)), list(names), fontsize=8)
        axes.set(xlabel=across)

    return paint
