"""Tables of features of cells that anyone made: an AnnData file (.h5ad), or a CSV with the cells' ids first.

table = read("subcell.csv")
features = table.of(ids)  # rows in the order of these cells; missing ones are named
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float32, Num

from hpax import files

if TYPE_CHECKING:
    import anndata  # is slow to import, so who needs it does

MAX_BYTES = 16 * 2**30  # of a file
MAX_NUMBERS = 2**31  # cells × features
NAMED = 5  # cells that an error names
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")  # how a CSV says that a number is not there


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of cells, each found by its id."""

    name: str  # of the file, without its ending
    ids: pd.Index
    sets: dict[str, Float32[np.ndarray, "n d"]]  # layer → its features; a table without layers has one set, its name
    obs: pd.DataFrame  # what else the table knows of its cells; without columns for a CSV
    labels: Num[np.ndarray, "n c"] | None = None  # 0 or 1 for every class, as tables of hpax have them in obsm

    def of(self, ids: Sequence[str] | pd.Index) -> dict[str, Float32[np.ndarray, "m d"]]:
        """Set → the features of these cells, in this order.

        Raises:
            ValueError: the table lacks a cell; the first few are named.
        """
        places = self.ids.get_indexer(pd.Index(ids))
        missing = [str(name) for name, place in zip(ids, places, strict=True) if place < 0]
        if missing:
            shown = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
            if not len(self.ids):
                raise ValueError(f"{self.name} has no rows, but must have all {len(places)} cells: {shown}")
            raise ValueError(
                f"{self.name} must have all {len(places)} cells, it lacks {len(missing)}: {shown}; its own ids are "
                f"such as {self.ids[0]}: rename them, or compare the cells that both have"
            )
        return {name: features[places] for name, features in self.sets.items()}


def read(path: str | os.PathLike[str]) -> FeatureTable:
    """The table in a file: of an .h5ad file `X` by obs_names, in sets by `var["layer"]` if there; of a CSV all columns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither, or too large, an id comes twice, or a feature is no finite number.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give a table of features (.h5ad or .csv)")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than the bound of {MAX_BYTES}; split it")
    if path.suffix == ".h5ad":
        return _of_anndata(path)
    if path.suffix == ".csv":
        return _of_csv(path)
    raise ValueError(f"a table of features must be an .h5ad or a .csv file, got {path.name}; convert it")


def of_anndata(table: "anndata.AnnData", name: str) -> FeatureTable:
    """The table that an AnnData object in memory is."""
    _check(table, name, filled=table.X is not None)
    dense = table.X.toarray() if hasattr(table.X, "toarray") else table.X
    features = np.asarray(dense, np.float32)
    layers = table.var["layer"].astype(str).to_numpy() if "layer" in table.var else np.full(table.n_vars, name)
    sets = {layer: features[:, layers == layer] for layer in dict.fromkeys(layers.tolist())}
    labels = table.obsm.get("labels")
    if not (isinstance(labels, np.ndarray) and labels.ndim == 2 and np.isin(labels, (0, 1)).all()):
        labels = None
    return _checked(FeatureTable(name, table.obs_names.astype(str), sets, table.obs, labels))


def _of_anndata(path: pathlib.Path) -> FeatureTable:
    import anndata

    with files.reading(path, "write it again as AnnData (write_h5ad)"):
        backed = anndata.read_h5ad(path, backed="r")  # with X left in the file, whatever it expands to
    try:
        _check(backed, path.name, filled="X" in backed.file)
        with files.reading(path, "write it again as AnnData (write_h5ad)"):
            table = backed.to_memory()
    finally:
        backed.file.close()
    return of_anndata(table, path.stem)


def _check(table: "anndata.AnnData", name: str, *, filled: bool) -> None:
    if not filled:
        kept = ", ".join(table.obsm) or "nothing"
        raise ValueError(f"{name} must hold features in X, it is empty and obsm holds {kept}; move them to X")
    if table.n_obs * table.n_vars > MAX_NUMBERS:
        raise ValueError(f"{name} has {table.n_obs} × {table.n_vars} numbers, more than {MAX_NUMBERS}; split it")


def _of_csv(path: pathlib.Path) -> FeatureTable:
    with files.reading(path, "write it again as CSV, the cells' ids first"):
        head = pd.read_csv(path, nrows=1, dtype=str)
        named = isinstance(head.index, pd.RangeIndex)  # else there is a name less than columns: the first are ids
        names = list(head.columns) if named else ["", *head.columns]
        table = pd.read_csv(
            path,
            header=0,
            names=names,
            index_col=False,
            dtype={names[0]: str},  # ids stay text: "001" and "NA" are some
            keep_default_na=False,
            na_values={name: list(MISSING) for name in names[1:]},
        ).set_index(names[0])
    text = [str(name) for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    if text or table.shape[1] == 0:
        told = f"{', '.join(text[:NAMED])} are not" if text else "there is none"
        raise ValueError(f"the columns of {path.name} after the first, the ids, must be numbers, {told}; drop others")
    features = table.to_numpy(np.float32)
    name = path.stem
    return _checked(FeatureTable(name, table.index, {name: features}, pd.DataFrame(index=table.index)))


def _checked(table: FeatureTable) -> FeatureTable:
    if len(twice := table.ids[table.ids.duplicated()]):
        raise ValueError(f"the ids of {table.name} must be unique, {twice[0]!r} is not; keep one row of each cell")
    for name, features in table.sets.items():
        bad = np.flatnonzero(~np.isfinite(features).all(1))
        if len(bad):
            cell = table.ids[bad[0]]
            raise ValueError(
                f"features must be finite, {len(bad)} cells' of {name} are not, the first {cell}; drop or fill them"
            )
    return table
