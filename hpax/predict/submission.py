"""What was predicted of the cells of many fields, as an AnnData table and as the competition's CSV.

with labels.writer("out") as cells:
    for id, masks in ...:
        cells.add(id, masks, probabilities, um_per_pixel=0.08)
cells = anndata.read_h5ad("out/cells.h5ad")  # obsm["prob"], and obs with a row for each cell
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Integer

from hpax import atlas, files
from hpax.fields import Masks
from hpax.formats import cell_tables, kaggle, label_images
from hpax.segment import borders, crops

if TYPE_CHECKING:
    import anndata  # is slow to import, so who needs it does

SUBMISSION, TABLE = "submission.csv", "cells.h5ad"


@dataclasses.dataclass(frozen=True)
class Writer:
    """Takes the cells of one field after another; of a field it keeps a few numbers for each cell."""

    list_: Callable[[kaggle.Listing], None]
    rows: list[pd.DataFrame] = dataclasses.field(default_factory=list)
    probabilities: list[Float32[np.ndarray, "k 19"]] = dataclasses.field(default_factory=list)

    def add(
        self,
        id: str,
        masks: Masks,
        probabilities: Float[np.ndarray, "k 19"],
        *,
        um_per_pixel: float,
        obs: Mapping[str, Any] | None = None,
    ) -> None:
        """A row of `probabilities` for each cell, by ascending index; `obs` says what else is known of the field.

        Raises:
            ValueError: another number of rows than cells, a probability not within 0 and 1, or an ID that came before
                or cannot stand in a CSV.
        """
        row = listing(id, masks.cells, probabilities)
        if len(probabilities):
            self.rows.append(_rows(id, masks, probabilities, um_per_pixel).assign(**(obs or {})))
            self.probabilities.append(np.asarray(probabilities, np.float32))
        self.list_(row)

    def table(self) -> "anndata.AnnData":
        """The cells of all fields so far."""
        import anndata

        obs = pd.concat(self.rows, ignore_index=True) if self.rows else pd.DataFrame({"field": [], "cell": []})
        obs.index = obs["field"].astype(str) + "_" + obs["cell"].astype(str)
        prob = np.concatenate([np.zeros((0, len(atlas.LOCATIONS)), np.float32), *self.probabilities])
        obsm = {"prob": prob, cell_tables.SPATIAL: cell_tables.spatial(obs)}
        var = pd.DataFrame(index=list(atlas.LOCATIONS))
        return anndata.AnnData(prob, obs=obs, var=var, obsm=obsm, uns=cell_tables.uns(["label"]))


@contextlib.contextmanager
def writer(folder: str | os.PathLike[str]) -> Iterator[Writer]:
    """Takes fields one at a time, and leaves submission.csv and cells.h5ad in `folder`; after an error, neither.

    The CSV lists every class of every cell. The table is as `hpax.formats.cell_tables` says: X and obsm["prob"] have
    the probabilities, uns["locations"] the names of their columns, and obs: field, cell (its index in the mask), label
    (the most probable) and its probability, x_um and y_um (the centre), the columns of
    `segment.borders.cell_properties`, and what was given as `obs`.
    """
    folder = Path(folder)
    with files.replacing(folder / TABLE) as draft, kaggle.writing(folder / SUBMISSION) as list_:
        cells = Writer(list_)
        yield cells
        cells.table().write_h5ad(draft)


def listing(id: str, cells: Integer[np.ndarray, "h w"], probabilities: Float[np.ndarray, "k 19"]) -> kaggle.Listing:
    """A field as a row of a submission: its cells by ascending index, each with all classes.

    Raises:
        ValueError: another number of rows than cells, or a probability that is not within 0 and 1.
    """
    indices = np.unique(cells[cells > 0])
    if probabilities.shape != (len(indices), len(atlas.LOCATIONS)):
        need = f"({len(indices)}, {len(atlas.LOCATIONS)})"
        raise ValueError(f"field {id} must have a row of probabilities per cell {need}, got {probabilities.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"probabilities must be within 0 and 1, those of field {id} are not; look for NaN")
    scores = np.full((int(indices.max(initial=0)), len(atlas.LOCATIONS)), np.nan)
    scores[indices.astype(np.int64) - 1] = probabilities
    return label_images.listing(id, cells, scores)


def by_field(cells: "anndata.AnnData") -> dict[str, Float32[np.ndarray, "k 19"]]:
    """Field → probabilities of its cells by ascending index: soft targets for `hpax.data.bags.BagBatches`."""
    order = cells.obs["cell"].to_numpy()
    places = cells.obs.groupby("field", observed=True).indices
    return {str(field): cells.obsm["prob"][own[np.argsort(order[own])]] for field, own in places.items()}


def _rows(id: str, masks: Masks, probabilities: Float[np.ndarray, "k 19"], um_per_pixel: float) -> pd.DataFrame:
    """What the table says of the cells of one field."""
    cells = borders.cell_properties(masks, um_per_pixel)
    centres = crops.centroids(masks.cells)
    y, x = np.array([centres[index] for index in cells["index"]], np.float32).reshape(-1, 2).T * um_per_pixel
    best = probabilities.argmax(1)
    known = {
        "field": id,
        "cell": cells["index"],
        "label": np.array(atlas.LOCATIONS, object)[best],
        "probability": probabilities.max(1).astype(np.float32),
        "x_um": x,
        "y_um": y,
    }
    return pd.DataFrame(known).join(cells.drop(columns="index"))
