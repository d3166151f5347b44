"""Proteins and images whose cells differ.

Le et al. (2022, "Single-cell heterogeneity"): an image is heterogeneous if its cells carry different sets of labels,
cells whose nucleus the border cuts left out. Proteins whose cells scatter in feature space (Lu et al. 2019) are for
`hpax.metrics.variability`. All arrays have a row for each cell, in one order.
"""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, Num

from hpax import atlas
from hpax.metrics.variability import Names, rows_by_name

Labels = Num[np.ndarray, "n 19"]  # 0 or 1


def label_sets(labels: Labels) -> Int64[np.ndarray, " n"]:
    """A number for each cell that is the same where the sets of labels are."""
    return (labels > 0).astype(np.int64) @ (1 << np.arange(len(atlas.LOCATIONS), dtype=np.int64))


def images(
    fields: Names, labels: Labels, *, left_out: Bool[np.ndarray, " n"] | None = None, least: int = 2
) -> pd.DataFrame:
    """A row for each field: cells, label sets, the share of cells beside the commonest set, and heterogeneous.

    Args:
        fields: the field of each cell.
        labels: what each cell shows, refined by its field's labels (`hpax.predict.refine`) as published.
        left_out: cells that are not counted: published are those whose nucleus touches the border of the field.
        least: fields with fewer cells that count are not in the table, as nothing can differ in them.
    """
    kept = np.ones(len(fields), bool) if left_out is None else ~left_out
    table = pd.DataFrame({"field": fields[kept].astype(str), "labels": label_sets(labels[kept])})
    rows = []
    for field, own in table.groupby("field", sort=True)["labels"]:
        counts = own.value_counts()
        if len(own) >= least:
            rows.append([str(field), len(own), len(counts), 1 - counts.iloc[0] / len(own), len(counts) > 1])
    found = pd.DataFrame(rows, columns=["field", "cells", "label_sets", "odd_share", "heterogeneous"])
    return found.astype({"heterogeneous": bool, "odd_share": float}).set_index("field")


def by_cell_line(found: pd.DataFrame, cell_lines: pd.Series) -> pd.DataFrame:
    """How many of the `images` of each cell line are heterogeneous; `cell_lines` is by field."""
    named = found.assign(cell_line=cell_lines.reindex(found.index).fillna("").to_numpy(str))
    table = named.groupby("cell_line")["heterogeneous"].agg(["size", "sum", "mean"])
    return table.set_axis(["images", "heterogeneous", "share"], axis=1)


def single_per_cell(
    proteins: Names, image_labels: Labels, cell_labels: Labels, *, share: float = 0.5, least: int = 5
) -> pd.DataFrame:
    """Proteins that images name several locations of, while their cells show one at a time.

    A row for each protein of two or more locations in its images and `least` cells or more: locations, cells, and which
    shares of the cells show none, one and several of them; `single_located` if those with one are over `share` of all,
    and cells with one do not all show the same.
    """
    places = [label for label in range(len(atlas.LOCATIONS)) if label != atlas.NEGATIVE]
    rows = []
    for protein, own in rows_by_name(proteins):
        locations = np.flatnonzero(image_labels[own][:, places].any(0))
        if len(locations) < 2 or len(own) < least:
            continue
        shown = cell_labels[own][:, places] > 0
        counts = shown.sum(1)
        different = shown[counts == 1].any(0).sum() > 1
        parts = [(counts == 0).mean(), (counts == 1).mean(), (counts > 1).mean()]
        names = ";".join(atlas.LOCATIONS[places[label]] for label in locations)
        rows.append([protein, names, len(own), *parts, bool(different and parts[1] > share)])
    columns = ["protein", "locations", "cells", "none", "one", "several", "single_located"]
    return pd.DataFrame(rows, columns=columns).astype({"single_located": bool}).set_index("protein")
