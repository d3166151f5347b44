"""Charts as pictures, drawn off screen and alike whatever a person's matplotlib settings."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.style
import numpy as np
from jaxtyping import Real, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 110

Numbers = Sequence[float] | Real[np.ndarray, " n"]


def drawn(
    paint: Callable[[Axes], None], *, title: str = "", width: float = 6.4, height: float = 4.8
) -> UInt8[np.ndarray, "height width 3"]:
    """What `paint` draws on fresh axes; width and height in inches of 110 pixels."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        paint(figure.add_subplot(title=title))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def curves(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    *,
    across: str = "step",
    up: str = "loss",
    title: str = "",
    log: bool = False,
) -> UInt8[np.ndarray, "height width 3"]:
    """Named lines of (x, y) with a legend; `log` scales y, where what is not above zero has no place."""

    def paint(axes: Axes) -> None:
        for name, (x, y) in lines.items():
            axes.plot(x, y, label=name, marker="." if len(x) < 30 else "", linewidth=1.5)
        axes.set(xlabel=across, ylabel=up, yscale="log" if log else "linear")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)

    return drawn(paint, title=title, height=3.6)


def intervals(
    rows: Mapping[str, tuple[float, float, float]], *, across: str, reference: float | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Named values with the ends of their intervals, the highest at the top; `reference` is a dashed line."""
    order = sorted(rows, key=lambda name: rows[name][0])

    def paint(axes: Axes) -> None:
        for place, name in enumerate(order):
            value, low, high = rows[name]
            axes.plot([low, high], [place, place], color="tab:blue", linewidth=2, alpha=0.5)
            axes.plot([value], [place], color="tab:blue", marker="o")
        if reference is not None:
            axes.axvline(reference, color="grey", linestyle="--", linewidth=1)
        axes.set(xlabel=across, yticks=range(len(order)), yticklabels=order)
        axes.grid(axis="x", alpha=0.3)

    return drawn(paint, width=8.0, height=1.2 + 0.32 * len(rows))
