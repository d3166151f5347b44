"""The page to explore the cells that an encoder was asked about: each on the plane of its UMAP, with its crop."""

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from hpax import files
from hpax.explore import colour, explorer
from hpax.features import tables
from hpax.metrics import neighbours
from hpax.recipes.feature_report import Report

PAGE = "explorer.html"
CROPS = 1_200
"""Of cells, that a page holds, at most, so that it stays small."""

DISTANCE = "distance to its protein's mean"


def leave(report: Report, folder: Path, *, title: str, seed: int) -> str:
    """Leaves the page in a folder and returns its name, or says why there is none and returns ""."""
    if importlib.util.find_spec("bokeh") is None:
        print(f"no {PAGE}: it needs bokeh; pip install 'hpax[explore]'")
        (folder / PAGE).unlink(missing_ok=True)
        return ""
    files.write_text(folder / PAGE, explorer.page(view(report, title=title, seed=seed)))
    return PAGE


def view(report: Report, *, title: str, seed: int) -> explorer.View:
    """What the page shows: the cells of the report's UMAP, by class, protein, and how unusual each is for its protein.

    Of more than CROPS cells so many, drawn, have a picture. There are none of fields.
    """
    shown, cells = report.shown, report.cells
    obs = shown.obs
    names = {
        name: obs[name].astype(str).to_numpy() for name in ("label", "protein", "cell_line", "field") if name in obs
    }
    columns = {name: values for name, values in names.items() if name == "protein" or (values != "").any()}
    distance = to_mean(neighbours.standardised(tables.of_layer(shown, report.layer)), names["protein"])
    drawn = np.sort(np.random.default_rng(seed).permutation(shown.n_obs)[:CROPS])
    thumb_of = np.full(shown.n_obs, -1)
    thumb_of[drawn] = np.arange(len(drawn))
    warnings = ["simulated cells: nothing here is biology"] if cells.origin == "simulated" else []
    if len(drawn) < shown.n_obs:
        warnings.append(f"pictures of {len(drawn)} of {shown.n_obs} cells are in the page")
    asked = "of proteins that its training did not see" if cells.held_out else "that it learnt from"
    return explorer.View(
        title=title,
        places=shown.obsm["X_umap"].astype(np.float32),
        ids=shown.obs_names.to_numpy(str),
        columns={**columns, DISTANCE: distance},
        details=np.full(shown.n_obs, ""),
        order=distance,
        thumbs=crops(report, cells.everything.table.index.get_indexer(shown.obs_names[drawn])),
        thumb_of=thumb_of,
        warnings=warnings,
        provenance={
            "cells": f"{shown.n_obs} {cells.origin} cells {asked}",
            "features": f"{report.layer} of the encoder",
            "plane": "UMAP, 20 neighbours, minimum distance 0.3",
            "order of a gallery": f"by {DISTANCE}, in standard deviations of the features",
        },
    )


def to_mean(features: Float[np.ndarray, "n d"], proteins: np.ndarray) -> Float[np.ndarray, " n"]:
    """The Euclidean distance of each cell to the mean of its protein's cells."""
    distance = np.empty(len(features))
    for name in np.unique(proteins):
        own = proteins == name
        distance[own] = np.linalg.norm(features[own] - features[own].mean(0), axis=1)
    return distance


def crops(report: Report, places: np.ndarray) -> UInt8[np.ndarray, "m s s 3"]:
    """Cells as the network sees them, in the HPA's colours."""
    cells = report.cells
    if not len(places):
        return np.zeros((0, cells.size, cells.size, 3), np.uint8)
    stored = np.stack([example["image"] for example in cells.everything.__getitems__(places.tolist())])
    seen = np.asarray(cells.prepare(stored))
    return colour.picture(seen, colours=colour.YEAST if len(cells.channels) == len(colour.YEAST) else None)
