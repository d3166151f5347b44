"""Feature tables (AnnData) of several encoders side by side: made, compared by nearest neighbours, laid on a plane.

`obs` has a row for each cell with its class in "label" ("" for none) and, in "query", whether benchmarks ask about it.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from jaxtyping import Float32

from hpax.explore import scatter
from hpax.features import benchmarks
from hpax.features.extract import Encode, extract
from hpax.metrics import field_neighbours, neighbours
from hpax.types import Batch

CELL_OUT = " cell out"
"""Ends the names of scores by the published protocol, which leaves out nothing but the cell itself."""


def write(
    encoders: Mapping[str, Encode],
    batches: Iterable[Batch],
    obs: pd.DataFrame,
    paths: Mapping[str, Path],
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    obsm: Mapping[str, np.ndarray] | None = None,
) -> dict[str, anndata.AnnData]:
    """The features of every cell by every encoder, each left in its .h5ad file; `batches` are gone over once each.

    `names` are those of a layer's features, as `extract` takes them.
    """
    tables = {}
    for name, encode in encoders.items():
        path = extract(encode, batches, obs, paths[name], names=names, obsm=obsm, uns={"encoder": name})
        tables[name] = anndata.read_h5ad(path)
    return tables


def layers(table: anndata.AnnData) -> list[str]:
    """The layers of a table."""
    return table.var["layer"].cat.categories.tolist()


def of_layer(table: anndata.AnnData, layer: str) -> Float32[np.ndarray, "n d"]:
    """The features of a layer.

    Raises:
        ValueError: the table has no such layer.
    """
    chosen = (table.var["layer"] == layer).to_numpy()
    if not chosen.any():
        raise ValueError(f"layer must be one of {', '.join(layers(table))}, got {layer!r}")
    return np.asarray(table[:, chosen].X)


def title(name: str, layer: str, layers: Sequence[str] = ()) -> str:
    """What a layer of a table is called: by the table alone if it has its name, or is the only one of `layers`."""
    return name if name == layer or len(layers) == 1 else f"{name} {layer}"


def benchmark(
    tables: Mapping[str, anndata.AnnData], *, protocol: str, k: int | Sequence[int], cell_out: bool = True
) -> dict[str, neighbours.Benchmark]:
    """ "trained conv3", "classic", ... → what the neighbours of a cell tell of its class, under the strict protocol.

    With `CELL_OUT` behind it: as published, where only the cell itself is left out. A table of one layer that has the
    table's name goes by that name. Cells without a class are left out.

    Args:
        tables: by the name of what made them.
        protocol: the column of `obs` whose groups are left out together, such as the protein.
        k: numbers of neighbours.
        cell_out: ask as published too.
    """
    scores = {}
    for name, table in tables.items():
        labelled = table[(table.obs["label"] != "").to_numpy()]
        labels, query = labelled.obs["label"].to_numpy(str), labelled.obs["query"].to_numpy(bool)
        groups = labelled.obs[protocol].to_numpy(str)
        for layer in layers(labelled):
            called = title(name, layer)
            ask = functools.partial(neighbours.benchmark, of_layer(labelled, layer), labels, k=k, query=query)
            scores[called] = ask(groups, drop_single_group_classes=True)
            if cell_out:
                scores[f"{called}{CELL_OUT}"] = ask(None)
    return scores


def benchmark_fields(
    tables: Mapping[str, anndata.AnnData], *, k: int | Sequence[int]
) -> dict[str, field_neighbours.FieldBenchmark]:
    """Title of each layer → what the neighbours of cells tell of their fields, which show several classes.

    All cells count, with one class or not. Empty where `obsm["labels"]` does not have the labels of fields.
    """
    found: dict[str, field_neighbours.FieldBenchmark] = {}
    for name, table in tables.items():
        labels = np.asarray(table.obsm["labels"]) if "labels" in table.obsm else None
        sets = {title(name, layer, layers(table)): of_layer(table, layer) for layer in layers(table)}
        found |= benchmarks.fields_of(sets, benchmarks.FieldLabels.of(table.obs, labels), k=k)
    return found


def on_a_plane(table: anndata.AnnData, layer: str, *, seed: int, most: int = 20_000) -> anndata.AnnData:
    """The cells that benchmarks ask about with their UMAP by a layer, features standardised, in `obsm["X_umap"]`.

    Of more than `most` cells so many are drawn, in their order.
    """
    places = np.flatnonzero(table.obs["query"].to_numpy(bool))
    if len(places) > most:
        places = np.sort(np.random.default_rng(seed).choice(places, most, replace=False))
    shown = table[places].copy()
    shown.obsm["X_umap"] = scatter.embed(neighbours.standardised(of_layer(shown, layer)), seed=seed)
    return shown
