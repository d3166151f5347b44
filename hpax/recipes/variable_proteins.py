"""Which proteins' cells differ: pairs of one image learn noise from them (Lu et al. 2019, Discussion).

Measured without a label, told by the cells' own labels (which only simulations have), or read from a table such as the
Human Protein Atlas's. `hpax.recipes.cells.open_cells` leaves them out of what is learnt from, where it is asked to.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from hpax import data, files, progress
from hpax.data.pipeline import Prepare
from hpax.features import handcrafted
from hpax.formats import protein_lists
from hpax.metrics import neighbours, variability
from hpax.recipes.data_configs import VariableProteins

__all__ = ["BOUND", "VariableProteins", "by_features", "by_labels", "chosen", "kept"]

BOUND = 3.0  # standard deviations at which features are cut: a few strange cells do not make a protein variable

_MEASURED = "1"  # another measurement gets another number, so that no kept table is taken for its own
_BATCH = 256  # cells whose features are taken at once

log = logging.getLogger(__name__)

Training = data.Source | data.Joined | data.Part


def chosen(
    config: VariableProteins, training: Training, measure: Callable[[], pd.DataFrame], *, seed: int = 0
) -> list[str]:
    """The variable proteins among those of the training cells, by name.

    Args:
        measure: `by_features` of these cells, or what was kept of it.
        seed: of `by="random"`.

    Raises:
        ValueError: what is to tell them does not.
    """
    every = np.unique(training.table["protein"].to_numpy(str))
    if config.table is not None:
        return _listed(config.table, every)
    if config.by == "random":
        ranked = np.random.default_rng(seed).permutation(every)
    else:
        ranked = (by_labels(training) if config.by == "labels" else measure()).index.to_numpy(str)
    return sorted(ranked[: round(config.left_out * len(every))].tolist())


def _listed(table: Path, every: np.ndarray) -> list[str]:
    names = protein_lists.variable(table)
    found = [name for name in every.tolist() if names & protein_lists.aliases(name)]
    if not found:
        examples = f"such as {min(names)!r}, and those are such as {every.tolist()[0]!r}"
        raise ValueError(f"{table} names none of the {len(every)} proteins that are learnt from: {examples}")
    return found


def kept(folder: Path, training: Training, channels: tuple[str, ...], prepare: Prepare) -> pd.DataFrame:
    """As `by_features`; measured once, and kept as a table in `folder`."""
    path = folder / f"{files.digest(_MEASURED, *channels, training.info.full_name, *training.index_files)}.csv"
    if not path.is_file():
        found = by_features(training, channels, prepare)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, found.to_csv(lineterminator="\n", float_format="%.6g"))
    log.warning("how much the cells of each protein differ: %s", path)
    return pd.read_csv(path, keep_default_na=False, dtype={"protein": str}).set_index("protein")


def by_features(training: Training, channels: tuple[str, ...], prepare: Prepare) -> pd.DataFrame:
    """Proteins by how much the classic features of their cells differ within fields, the most variable first.

    As `hpax.metrics.variability.by_protein` has it, of standardised features cut at ± `BOUND`. Proteins of fewer than
    five cells are not told of.

    Args:
        channels: of the cells, as `prepare` makes them of stored crops.
    """
    table = training.table
    batches = data.CellBatches(training, _BATCH, prepare=prepare, share=data.ProcessShard())
    found = np.empty((len(table), len(handcrafted.names(channels))), np.float32)
    with progress.shown("how much cells differ", len(table)) as bar:
        for batch in batches:
            rows = np.asarray(batch["mask"], bool)
            found[batch["index"][rows]] = handcrafted.encode(batch["image"][rows])["classic"]
            bar.advance(int(rows.sum()))
    features = np.clip(neighbours.standardised(found), -BOUND, BOUND)
    return variability.by_protein(features, table["protein"].to_numpy(str), _fields(training))


def _fields(training: Training) -> np.ndarray:
    """The field of each cell; the image, where fields have no names."""
    table = training.table
    return (table["field"].to_numpy(str) if "field" in table else training.groups).astype(str)


def by_labels(training: Training) -> pd.Series:
    """The share of each protein's cells that do not show the locations that most of their field do, the highest first.

    Raises:
        ValueError: cells have no labels of their own.
    """
    told = pd.DataFrame({"protein": training.table["protein"].to_numpy(str), "field": _fields(training)})
    known = "labels" in training.info.features
    told["labels"] = [row.tobytes() for row in training.labels] if known else b""
    sets = told.groupby(["protein", "field", "labels"]).size()
    cells, alike = (each.groupby("protein").sum() for each in (sets, sets.groupby(["protein", "field"]).max()))
    odd = 1 - alike / cells
    if not odd.any():
        raise ValueError("variable proteins are told by labels of single cells, here cells have none; use 'features'")
    return odd.sort_values(ascending=False, kind="stable")
