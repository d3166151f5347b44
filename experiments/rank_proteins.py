"""Ranks proteins by how much they vary from cell to cell, with intervals: the biologist's first question.

Takes a table of labelled cells, such as cells.h5ad of `hpax label` or atlas.h5ad of `explore_atlas` (obsm["prob"], and
obs with field and protein). Leaves ranking.csv, ranking.png and .svg; the galleries of each protein's cells are in the
page of `python -m experiments.explore_atlas`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hpax import launch


@dataclasses.dataclass(frozen=True)
class Config:
    """Which cells, and how to rank their proteins."""

    cells: Path = Path("runs/label/cells.h5ad")  # with a row for each cell
    kind: Literal["simulated", "real"] = "real"  # of cells
    by: Literal["prob", "features"] = "prob"  # what must differ: where the protein is, or anything about the cell
    least: int = 5  # cells of a protein
    resamples: int = 500
    shown: int = 40  # proteins of the figure
    seed: int = 0


SWEEPS: dict[str, Sequence[launch.Difference]] = {"by": ({"by": "prob"}, {"by": "features"})}


def run(config: Config, workdir: Path) -> launch.Result:
    """Ranks, and leaves the table and its figure."""
    import anndata
    import numpy as np

    from hpax import atlas, files
    from hpax.analysis import embed
    from hpax.explore import figures
    from hpax.metrics import variability

    with launch.opening():
        cells = anndata.read_h5ad(config.cells)
        missing = [name for name in ("field", "protein") if name not in cells.obs]
        missing += [] if "prob" in cells.obsm else ["prob"]
        if missing:
            raise ValueError(f"{config.cells} must say field, protein and prob of each cell, {missing} are missing")
        if config.by == "features" and list(cells.var_names) == list(atlas.LOCATIONS):
            raise ValueError(f"X of {config.cells} holds probabilities, not features; give atlas.h5ad of explore_atlas")
    proteins, fields = (variability.names(cells.obs[name]) for name in ("protein", "field"))
    named = proteins != ""
    values = np.asarray(cells.obsm["prob"] if config.by == "prob" else embed.principal(np.asarray(cells.X)), np.float32)
    ranking = variability.by_protein(
        values[named],
        proteins[named],
        fields[named],
        resamples=config.resamples,
        seed=config.seed,
        least=config.least,
    )
    files.write_text(workdir / "ranking.csv", ranking.to_csv(lineterminator="\n", float_format="%.6g"))
    top = ranking.head(config.shown)
    if len(top):
        numbers = [top[name].to_numpy(float) for name in ("variability", "low", "high")]
        paint = figures.intervals(list(top.index), *numbers, across="variance within images, mean protein = 1")
        figures.save(workdir / "ranking", paint, height=1 + 0.2 * len(top))
    above = float((ranking["low"] > 1).mean()) if len(ranking) else float("nan")
    counts = {"cells": int(named.sum()), "cells without protein": int((~named).sum()), "proteins": len(ranking)}
    return launch.Result({"surely above the mean": above}, counts, config.kind, ["surely above the mean"])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
