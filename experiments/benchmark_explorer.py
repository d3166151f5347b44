"""How long it takes to explore an atlas of many cells: UMAP, the page, opening it in a browser, and panning.

The cells are feature vectors drawn from a mixture of classes, proteins and cells, no images. Their principal components
are laid out as those of an atlas are: beyond `--reference` so many are laid out and the others placed among them. The
page has as many pictures as one of `hpax label`, simulated too. It is opened and panned in a headless Chromium without
a graphics card; where there is no Chromium, these numbers are missing, and that is said. The first arm of a sweep pays
for what UMAP compiles, and memory is the most that the process ever had, so arms stand in the order of their size.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from hpax import launch


@dataclasses.dataclass(frozen=True)
class Config:
    """How many cells, and how they are laid out and looked at."""

    cells: int = 160_000
    features: int = 128  # of a cell, before principal components
    components: int = 50  # principal ones, that distances are taken of
    proteins: int = 12_000
    reference: int = 50_000  # cells that UMAP lays out at most; the others are placed among them
    turns: int = 3  # in a browser of their own each
    pan: float = 5.0  # seconds, in each turn
    seed: int = 0


PRESETS: dict[str, launch.Difference] = {
    "fast": {"cells": 1200, "reference": 800, "proteins": 190, "features": 32, "turns": 1, "pan": 1.0},
}
SWEEPS: dict[str, Sequence[launch.Difference]] = {"cells": launch.grid(cells=[160_000, 1_500_000])}
HEADLINE = (
    "principal components (s)",
    "UMAP (s)",
    "building the page (s)",
    "page (MB)",
    "opening (s)",
    "frames/s",
    "opening, median (s)",
    "frames/s, median",
    "load",
    "peak memory (MB)",
    "class by neighbours, features",
    "class by neighbours, UMAP",
)


def run(config: Config, workdir: Path) -> launch.Result:
    """Draws the cells, lays them out, leaves the page and looks at it."""
    import numpy as np

    from hpax import atlas, files
    from hpax.analysis import embed
    from hpax.explore import browser, explorer
    from hpax.metrics.timing import peak_memory
    from hpax.recipes import explorer_speed as speed

    seed = config.seed
    made = speed.vectors(cells=config.cells, features=config.features, proteins=config.proteins, seed=seed)
    clock = Clock()
    main = embed.principal(made.features, config.components, seed=seed)
    metrics = {"principal components (s)": clock.lap()}
    made = dataclasses.replace(made, features=np.zeros((config.cells, 0), np.float32))
    places = embed.umap(main, seed=seed, reference=config.reference)
    metrics["UMAP (s)"] = clock.lap()
    reference = embed.reference_rows(config.cells, config.reference, seed=seed)
    for name, features in {"features": main, "UMAP": places}.items():
        metrics[f"class by neighbours, {name}"] = speed.agreement(features, made.classes, reference, seed=seed)
    del main
    shown = speed.view(made, places, seed=seed)
    clock.lap()
    path = workdir / "index.html"
    files.write_text(path, explorer.page(shown))
    metrics["building the page (s)"] = clock.lap()
    metrics["page (MB)"] = path.stat().st_size / 1e6
    metrics["peak memory (MB)"] = peak_memory()
    if browser.executable() is None:
        print(f"no browser here, so nothing is opened; install one of {', '.join(browser.NAMES)}")
    metrics |= speed.page_speed(path, turns=config.turns, seconds=config.pan)
    counts = {"cells": config.cells, "proteins": config.proteins, "classes": len(atlas.LOCATIONS)}
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=HEADLINE)


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last one, or the beginning."""
        start, self._start = self._start, time.perf_counter()
        return self._start - start


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
