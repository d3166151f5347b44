"""The page that `hpax embed` leaves: what was embedded by what, the cells on a plane, neighbours, and a gallery."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import anndata
import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, UInt, UInt8

from hpax import atlas
from hpax.explore import colour, grids, page, scatter
from hpax.features import tables
from hpax.metrics import neighbours
from hpax.models import Encoder

LAYER = "conv3"  # that pictures speak of, where it was kept
UNKNOWN = "not known"
MOST = 20_000  # cells of the UMAP
FEWEST = 5  # cells that it takes
QUERIES, NEAREST = 8, 7  # cells whose neighbours are shown, and how many of each
ROWS, COLUMNS = 12, 10  # of the gallery
SIDE = 96  # pixels of a crop on the page, at least


@runtime_checkable
class Cells(Protocol):
    """Single cells, a row of the table for each."""

    @property
    def table(self) -> pd.DataFrame:
        """What is known of each."""

    @property
    def labels(self) -> UInt[np.ndarray, "n 19"] | None:
        """The labels of their fields; None: nothing knows labels."""

    def crops(self, places: Sequence[int]) -> list[UInt[np.ndarray, "s s c"]]:
        """Pictures of some of them, with the encoder's channels and perhaps further ones."""


def write(encoder: Encoder, cells: Cells, features: Path, told: Mapping[str, str | float], path: Path) -> None:
    """Leaves the page of cells whose rows are those of `features`; `told` says how they were made."""
    names, what = named(cells)
    places = drawn(len(names), MOST)
    table = anndata.read_h5ad(features, backed="r")
    layers = tables.layers(table)
    layer = LAYER if LAYER in layers else layers[-1]
    chosen = neighbours.standardised(tables.of_layer(table, layer)[places])
    sections = [
        page.Section("What was embedded", [page.Table(["what", "value"], [list(row) for row in told.items()])]),
        page.Section(f"Cells by {layer}", [plane(chosen, names[places], layer, what)]),
        page.Section(f"Nearest neighbours by {layer}", [nearest(encoder, cells, chosen, places, names)]),
        page.Section("Gallery", [gallery(encoder, cells, names)]),
    ]
    about = f"Features of {len(names)} single cells by the encoder {told['encoder']}, in {features.name}."
    page.write(path, page.page("Embedded cells", about, sections))


def named(cells: Cells) -> tuple[np.ndarray, str]:
    """A name for every cell, and what it says: locations where any are known, else the protein, else the field."""
    labels, table = cells.labels, cells.table
    if labels is not None and labels.any():
        rows, kind = np.unique(labels, axis=0, return_inverse=True)
        return np.array([joined(row) for row in rows], object)[kind.reshape(-1)], "their field's locations"
    for column in ("protein", "field"):
        if column in table and (known := texts(table, column)).astype(bool).any():
            return np.where(known == "", UNKNOWN, known), f"their {column}"
    return np.full(len(table), UNKNOWN, object), "their name"


def joined(labels: UInt[np.ndarray, " 19"]) -> str:
    """The names of the locations of a cell, such as "Nucleoplasm + Cytosol"."""
    return " + ".join(atlas.LOCATIONS[label] for label in np.flatnonzero(labels)) or UNKNOWN


def texts(table: pd.DataFrame, column: str) -> np.ndarray:
    """A column as text."""
    return table[column].astype(str).to_numpy(object)


def drawn(count: int, most: int) -> Int[np.ndarray, " m"]:
    """At most so many places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def plane(features: Float32[np.ndarray, "n d"], names: np.ndarray, layer: str, what: str) -> page.Picture | page.Text:
    """The UMAP, where there are cells enough."""
    if len(features) < FEWEST:
        return page.Text(f"A UMAP needs {FEWEST} or more cells, there are {len(features)}.")
    points = scatter.embed(features, seed=0)
    alt = f"Scatter of {len(points)} cells coloured by {what}, by UMAP of {layer}"
    caption = f"{len(points)} cells in the colour of {what}"
    return page.Picture(scatter.scatter(points, names.tolist()), alt, caption)


def nearest(
    encoder: Encoder,
    cells: Cells,
    features: Float32[np.ndarray, "n d"],
    places: Int[np.ndarray, " n"],
    names: np.ndarray,
) -> page.Picture | page.Text:
    """Some cells, each beside those most like it in other fields; `places` says which cells the features are of."""
    groups = texts(cells.table, "field" if "field" in cells.table else "group_id")[places]
    queries = drawn(len(places), QUERIES)
    found = neighbours.nearest(features, groups, k=NEAREST, rows=queries)
    if (found < 0).all():
        return page.Text("A cell's neighbours are looked for in other fields, and there is a single one.")
    rows = []
    for query, near in zip(queries, found, strict=True):
        wanted = [int(place) for place in (places[query], *places[near[near >= 0]])]
        row = captioned(encoder, cells, wanted, names)
        rows.append(row + [np.zeros_like(row[0])] * (NEAREST + 1 - len(row)))
    titles = ["cell", *(f"neighbour {rank}" for rank in range(1, NEAREST + 1))]
    caption = "Each row: a cell, and its nearest neighbours in other fields, the nearest first"
    return page.Picture(grids.grid(rows, titles=titles), "Crops of cells beside crops of their neighbours", caption)


def gallery(encoder: Encoder, cells: Cells, names: np.ndarray) -> page.Picture:
    """Some cells of each name, the most frequent names first."""
    kinds = pd.Series(names).value_counts(sort=True)
    rows, titles = [], []
    for kind, count in list(kinds.items())[:ROWS]:
        own = np.flatnonzero(names == kind)
        crops = pictures(encoder, cells, own[drawn(len(own), COLUMNS)].tolist())
        rows.append(crops + [np.zeros_like(crops[0])] * (COLUMNS - len(crops)))
        titles.append(f"{kind} ({count})")
    shown = "all of them" if len(kinds) <= ROWS else f"the {ROWS} most frequent of {len(kinds)} names"
    return page.Picture(grids.grid(rows, names=titles), "Crops of cells, a row for each name", f"Cells, {shown}")


def captioned(
    encoder: Encoder, cells: Cells, places: Sequence[int], names: np.ndarray
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Cells with their names below."""
    crops = pictures(encoder, cells, places)
    return [grids.captioned(crop, str(names[place])) for crop, place in zip(crops, places, strict=True)]


def pictures(encoder: Encoder, cells: Cells, places: Sequence[int]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Cells as the encoder sees them, in the HPA's colours, large enough to look at."""
    channels = len(encoder.channels)
    seen = np.concatenate([encoder.prepare(crop[None, ..., :channels]) for crop in cells.crops(places)])
    painted = colour.picture(seen, colours=colour.YEAST if channels == len(colour.YEAST) else None)
    scale = -(-SIDE // painted.shape[1])
    return list(painted.repeat(scale, axis=1).repeat(scale, axis=2))
