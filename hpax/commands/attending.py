"""Where the network of cells looks, on the cells of an atlas: a table by class and pictures."""

from collections.abc import Iterable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from hpax import atlas, files
from hpax.analysis import attention
from hpax.explore import colour, grids, labelled
from hpax.fields import Field
from hpax.models import CellClassifier

EXAMPLES = 4  # cells of each class in the figure


def study(
    classifier: CellClassifier,
    fields: Iterable[Field],
    cells: anndata.AnnData,
    workdir: Path,
    *,
    layer: str,
    most: int,
    seed: int,
) -> pd.DataFrame:
    """Leaves tables/attention.csv and figures/attention.png; returns the table (`attention.overlaps`).

    The layer is the finest one where none is named. Looks at up to `most` cells of a single location, as many of each
    class as there are; the location is the truth where it is known, else what the refined labels say.
    """
    chosen = single_cells(cells, most=most, seed=seed)
    if not len(chosen):
        return pd.DataFrame(columns=["cells", "iou", "control"])
    crops, labels = _crops(classifier, fields, chosen)
    looked = attention.Attention.of(classifier, layer=layer or attention.finest_layer(classifier))
    table = attention.overlaps(looked, crops, labels, seed=seed)
    text = table.to_csv(lineterminator="\n", float_format="%.4f")
    files.write_text(workdir / "tables" / "attention.csv", text)
    files.write_bytes(workdir / "figures" / "attention.png", colour.png(picture(looked, crops, labels)))
    return table


def single_cells(cells: anndata.AnnData, *, most: int, seed: int) -> pd.DataFrame:
    """Cells that show one location and are not cut by the border: field, cell, location; alike many of each class."""
    shown = cells.obsm["truth"] if cells.obsm["truth"].any() else cells.obsm["refined"]
    alone = (shown.sum(1) == 1) & ~cells.obs["nucleus_cut"].to_numpy(bool)
    alone &= shown.argmax(1) != atlas.NEGATIVE
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(alone))
    table = pd.DataFrame(
        {
            "field": cells.obs["field"].astype(str).to_numpy()[rows],
            "cell": cells.obs["cell"].to_numpy(int)[rows],
            "location": shown.argmax(1)[rows],
        }
    )
    turn = table.groupby("location").cumcount()
    return table.assign(turn=turn).sort_values(["turn", "location"], kind="stable").head(most).drop(columns="turn")


def picture(looked: attention.Attention, crops: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cells of each class beside the map of their class over their protein (Le et al. 2022, Figure 3)."""
    rows, names = [], []
    most = min(EXAMPLES, int(np.bincount(labels).max()))
    for label in np.unique(labels).tolist():
        own = crops[labels == label][:most]
        maps = looked.own_maps(own, np.full(len(own), label))
        pictures = []
        for crop, plane in zip(own, maps, strict=True):
            pictures += [colour.picture(crop), labelled.heated(crop[..., :1], plane)]
        blank = np.zeros_like(pictures[0])
        rows.append(pictures + [blank] * (2 * most - len(pictures)))
        names.append(atlas.LOCATIONS[label])
    return grids.grid(rows, names=names, titles=["cell", "attention"] * most)


def _crops(classifier: CellClassifier, fields: Iterable[Field], chosen: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The crops of chosen cells as the network sees them, and their locations."""
    crops, labels = [], []
    wanted = dict(iter(chosen.groupby("field")))
    for field in fields:
        if field.id in wanted:
            own = wanted[field.id]
            rows = np.searchsorted(field.found.indices, own["cell"].to_numpy())
            crops.append(classifier.crops(field)[rows])
            labels.append(own["location"].to_numpy())
    return np.concatenate(crops), np.concatenate(labels)
