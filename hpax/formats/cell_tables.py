"""One convention for every AnnData file (.h5ad) of cells that hpax writes, so that scanpy takes it as it is.

`X` is never None; `obs_names` are `{field}_{index in the field}`; `obsm["spatial"]` is where a cell lies in its field,
(x, y) in µm, NaN where that is not known; `uns["label_columns"]` names the columns of `obs` that hold classes, and
`uns["locations"]` the columns of `obsm["labels"]` and `obsm["prob"]`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from hpax import atlas

SPATIAL = "spatial"
LABEL_COLUMNS = "label_columns"


def spatial(obs: pd.DataFrame) -> Float32[np.ndarray, "n 2"]:
    """Where each cell lies in its field, x and y in µm: of `x_um` and `y_um`, or of pixels and `um_per_pixel`."""
    if {"x_um", "y_um"} <= set(obs):
        return obs[["x_um", "y_um"]].to_numpy(np.float32)
    if {"x", "y", "um_per_pixel"} <= set(obs):
        return obs[["x", "y"]].to_numpy(np.float32) * obs[["um_per_pixel"]].to_numpy(np.float32)
    return np.full((len(obs), 2), np.nan, np.float32)


def uns(label_columns: Sequence[str] = ()) -> dict[str, Any]:
    """What the file says of its own columns."""
    return {LABEL_COLUMNS: np.array(list(label_columns), str), "locations": np.array(atlas.LOCATIONS, str)}
